// The list of conversations.

const list = { deleted: false, limit: null, asked: 0 };

async function refreshRows() {
  const turn = ++list.asked;
  const answer = await askQuietly("conversations", {
    query: part("search").value,
    list: list.deleted ? "deleted" : "all",
    limit: list.limit,
    offset: -new Date().getTimezoneOffset(),
  });
  if (!answer || answer.error || turn !== list.asked) return;
  const rows = part("rows");
  if (rows.querySelector("input")) return; // a title is being written
  const focused = rows.contains(document.activeElement)
    ? document.activeElement.closest("[data-conversation]")?.dataset.conversation
    : "";
  rows.replaceChildren(fragment(answer.html));
  if (answer.more) {
    const more = element("button", { type: "button", class: "link more" }, answer.more_label);
    more.addEventListener("click", () => {
      list.limit = answer.limit + answer.page;
      refreshRows();
    });
    rows.append(more);
  }
  markRow();
  if (focused) rows.querySelector(`[data-conversation="${focused}"] .open`)?.focus();
  fetchPictures();
}

function markRow() {
  const shown = state.mode === "chat" ? state.view?.conversation : "";
  for (const row of part("rows").querySelectorAll("[data-conversation]")) {
    const is = row.dataset.conversation === shown;
    row.classList.toggle("active", is);
    if (is) row.querySelector(".open").setAttribute("aria-current", "page");
    else row.querySelector(".open").removeAttribute("aria-current");
  }
}

// Writes a new title in the place of `node`; Enter or leaving keeps it, Escape does not.
function renameIn(node, conversation) {
  const input = element("input", { type: "text", class: "renaming", maxlength: "200", "aria-label": WORDS.RENAME });
  const before = node.textContent;
  input.value = before;
  let over = false;
  const end = async (keep) => {
    if (over) return;
    over = true;
    const title = input.value.trim();
    input.replaceWith(node);
    if (!keep || !title || title === before) return;
    node.textContent = title;
    const answer = await ask("rename", { conversation, title });
    node.textContent = answer?.title ?? before;
    if (state.view?.conversation === conversation) {
      state.view.title = node.textContent;
      drawHead(state.view);
    }
    refreshRows();
  };
  input.addEventListener("blur", () => end(true));
  input.addEventListener("click", (event) => event.stopPropagation());
  input.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" && !event.isComposing) end(true);
    if (event.key === "Escape") end(false);
  });
  input.addEventListener("keyup", (event) => {
    if (event.key === " ") event.preventDefault(); // it would press the row's button
  });
  node.replaceWith(input);
  input.focus();
  input.select();
}

async function removeConversation(conversation) {
  const answer = await ask("remove", { conversation });
  if (!answer) return;
  const wasOpen = state.view?.conversation === conversation && state.mode === "chat";
  const undo = async () => {
    if (!(await ask("restore", { conversation }))) return;
    refreshRows();
    if (wasOpen) open(conversation);
  };
  notice(answer.notice, { action: { label: WORDS.UNDO, run: undo } });
  if (wasOpen) show("gallery");
  refreshRows();
}

async function restoreConversation(conversation) {
  const answer = await ask("restore", { conversation });
  if (answer) notice(answer.notice);
  refreshRows();
}

function rowMenu(button) {
  const row = button.closest("[data-conversation]");
  const conversation = row.dataset.conversation;
  openMenu(button, [
    [WORDS.RENAME, () => renameIn(row.querySelector(".title"), conversation)],
    [WORDS.DELETE, () => removeConversation(conversation), "danger"],
  ]);
}

function toggleDeleted(button) {
  list.deleted = !list.deleted;
  const other = button.dataset.other;
  button.dataset.other = button.textContent;
  button.textContent = other;
  refreshRows();
}

const openSidebar = (is) => root.querySelector(".shell").classList.toggle("with-sidebar", is);
