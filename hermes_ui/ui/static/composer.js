// Writing, sending, stopping, and what can be done with each message.

// Measuring it makes the box small for a moment, which must not move what is read above.
function fitInput(box) {
  const scroller = part("scroller");
  const [wasAtEnd, top] = [follows, scroller.scrollTop];
  box.style.height = "auto";
  const line = parseFloat(getComputedStyle(box).lineHeight) || 24;
  box.style.height = `${Math.min(box.scrollHeight, line * 8 + 24)}px`;
  if (wasAtEnd && !scroller.contains(box)) toBottom();
  else scroller.scrollTop = top;
}

const draftKey = () => `typed.${state.view?.conversation ?? ""}`;

function keepDraft() {
  stored.set(draftKey(), part("input").value);
}

function showDraft() {
  const box = part("input");
  box.value = stored.get(draftKey());
  box.placeholder = state.view.hint;
  box.setAttribute("aria-label", state.view.hint);
  fitInput(box);
}

async function sendOrStop() {
  if (state.run) {
    await ask("stop", { run: state.run });
    return;
  }
  const box = part("input");
  const text = box.value;
  if (state.sending || !text.trim()) return;
  const key = draftKey();
  const conversation = state.view.conversation;
  state.sending = true;
  box.readOnly = true;
  part("composer").classList.add("sending");
  const answer = await ask("send", { conversation, text, leaf: state.view.leaf });
  state.sending = false;
  box.readOnly = false;
  part("composer").classList.remove("sending");
  if (answer && !answer.stale) stored.set(key, "");
  if (state.view?.conversation !== conversation) return;
  if (answer?.stale) notice(answer.stale, { kind: "error" });
  else if (answer) box.value = "";
  fitInput(box);
  if (answer) draw(answer, { newest: true });
  if (answer) refreshRows();
}

// An action on a message whose answer is the window as it stands afterwards.
async function change(action, fields, options = {}) {
  const conversation = state.view.conversation;
  const answer = await ask(action, here(fields));
  if (!answer || state.view?.conversation !== conversation) return null;
  draw(answer, options);
  if (answer.notice) notice(answer.notice);
  refreshRows();
  refreshMeter();
  return answer;
}

async function editMessage(article) {
  const id = article.dataset.id;
  const answer = await ask("source", { message: id });
  if (!answer || article.querySelector(".editing")) return;
  const isUser = answer.role === "user";
  const box = element("textarea", { dir: "auto", "aria-label": WORDS.EDIT });
  box.value = answer.text;
  const save = element("button", { type: "submit", class: "primary" }, isUser ? WORDS.SAVE_AND_SEND : WORDS.SAVE);
  const cancel = element("button", { type: "button", class: "plain" }, WORDS.CANCEL);
  const form = element("form", { class: "editing" }, box, element("div", { class: "row-end" }, cancel, save));
  const leave = () => {
    form.remove();
    article.classList.remove("is-edited");
    article.querySelector('[data-action="edit"]')?.focus();
  };
  const submit = async () => {
    if (box.value === answer.text && !isUser) {
      leave();
      return;
    }
    save.disabled = true;
    const changed = await change("edit", { message: id, text: box.value }, { newest: isUser });
    save.disabled = false;
    if (changed && form.isConnected) leave();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  cancel.addEventListener("click", leave);
  box.addEventListener("input", () => fitInput(box));
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leave();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit();
  });
  article.classList.add("is-edited");
  article.querySelector(".text").after(form);
  fitInput(box);
  box.focus();
}

async function showSeal(article, button) {
  const box = article.querySelector(".seal");
  const shows = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!shows));
  box.hidden = shows;
  if (shows || box.childElementCount) return;
  const answer = await ask("seal", { message: article.dataset.id });
  if (answer) box.replaceChildren(fragment(answer.html));
}

async function deleteMessage(id) {
  const undo = { label: WORDS.UNDO, run: () => change("undo", {}) };
  if (await change("delete", { message: id })) notice(WORDS.DELETED_MESSAGE, { action: undo });
}

const messageActions = {
  copy: async (article) => {
    const answer = await ask("source", { message: article.dataset.id });
    if (answer) copyText(answer.text);
  },
  edit: editMessage,
  regenerate: (article) => change("regenerate", { message: article.dataset.id }, { newest: true }),
  resume: (article) => change("resume", { message: article.dataset.id }, { newest: true }),
  switch: (article, button) => change("switch", { message: button.dataset.to }),
  delete: (article) => deleteMessage(article.dataset.id),
  seal: showSeal,
};

function typeInInput(event) {
  const byTouch = matchMedia("(pointer: coarse)").matches; // no Shift key there: Enter is a new line
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || byTouch) return;
  event.preventDefault();
  if (!state.run) sendOrStop();
}
