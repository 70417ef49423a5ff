// The header, the context meter, the model chip and the drawer.

let modelKey = "";

function drawHead(view) {
  if (!root.querySelector(".head .renaming")) part("title").textContent = view.title;
  part("speaker").textContent = view.persona === view.title ? "" : view.persona;
  part("head-avatar").replaceChildren(fragment(view.avatar));
  part("outdated").hidden = !view.outdated;
  if (state.mode === "chat") document.title = `${view.title} · ${WORDS.PRODUCT}`;
}

async function refreshMeter() {
  const conversation = state.view?.conversation;
  const answer = await askQuietly("meter", { conversation });
  if (state.view?.conversation !== conversation) return;
  const meter = part("meter");
  meter.hidden = !answer || Boolean(answer.error);
  if (meter.hidden) return;
  meter.style.setProperty("--used", answer.used);
  meter.style.setProperty("--reply", answer.reply);
  meter.classList.toggle("drops", answer.dropped > 0);
  meter.querySelector(".short").textContent = answer.short;
  meter.title = answer.label;
  meter.setAttribute("aria-label", answer.label);
}

async function refreshChip() {
  if (document.hidden) return;
  const drawer = part("drawer");
  const watching = drawer.open && drawer.dataset.kind === "model";
  const answer = await askQuietly(watching ? "model" : "chip");
  if (!answer || answer.error) return;
  for (const chip of root.querySelectorAll(".chip")) {
    if (chip.innerHTML !== answer.chip) chip.innerHTML = answer.chip;
  }
  if (watching && drawer.open && drawer.dataset.kind === "model") fillDrawer(answer.html);
  if (answer.key !== modelKey && state.mode === "chat" && state.view) refreshMeter();
  modelKey = answer.key;
}

function openDrawer(kind, title, html) {
  const drawer = part("drawer");
  drawer.dataset.kind = kind;
  drawer.querySelector("h2").textContent = title;
  drawer.querySelector(".drawer-body").replaceChildren(fragment(html));
  if (!drawer.open) drawer.showModal();
}

function fillDrawer(html) {
  const body = part("drawer").querySelector(".drawer-body");
  if (body.drawn === html) return;
  const focused = document.activeElement?.dataset?.action;
  body.replaceChildren(fragment(html));
  body.drawn = html;
  if (focused) body.querySelector(`[data-action="${focused}"]`)?.focus();
}

async function openPanel(action, title) {
  const answer = await ask(action, here());
  if (answer) openDrawer(action, title, answer.html);
}

async function modelAction(action, fields = {}) {
  const answer = await ask(action, fields);
  if (answer) fillDrawer(answer.html);
  refreshChip();
}

const ESCAPES = { "\\n": "\n", "\\\\": "\\" };

function valueOf(input) {
  const lines = () => input.value.split("\n").filter((line) => line);
  if (input.dataset.kind === "lines") {
    return lines().map((line) => line.replace(/\\[\\n]/g, (pair) => ESCAPES[pair]));
  }
  if (input.dataset.kind === "map") {
    const pairs = lines().map((line) => line.split(":").map((part) => part.trim()));
    return Object.fromEntries(pairs.map(([key, value]) => [key, value ?? ""]));
  }
  if (input.value === "") return null;
  return Number(input.value);
}

async function saveField(input) {
  if (input.name === "user") {
    await ask("user", { conversation: state.view.conversation, name: input.value });
    refresh();
    return;
  }
  const values = { [input.name]: valueOf(input) };
  await redrawSettings("sampling", { name: input.name, values });
}

let settingsSaved = Promise.resolve(); // changes arrive in the order in which they are made
let newestChange = 0;

function redrawSettings(action, fields = {}) {
  const change = ++newestChange;
  const asked = here(fields);
  settingsSaved = settingsSaved.then(async () => {
    const answer = await ask(action, asked);
    const drawer = part("drawer");
    // A newer change shows already, and is drawn in its turn.
    if (change !== newestChange || drawer.dataset.kind !== "settings") return;
    const html = answer?.html ?? (await askQuietly("settings", here()))?.html;
    if (html) fillSettings(drawer.querySelector(".drawer-body"), html);
    refreshMeter();
  });
  return settingsSaved;
}

function fillSettings(body, html) {
  const { id, name, type } = document.activeElement ?? {};
  const scroll = body.scrollTop;
  body.replaceChildren(fragment(html));
  body.scrollTop = scroll;
  if (id) document.getElementById(id)?.focus();
  else if (name) body.querySelector(`[name="${CSS.escape(name)}"][type="${type}"]`)?.focus();
}

// A slider and its number say the same while they move; the value is kept when they rest.
function mirrorField(input) {
  for (const twin of input.closest(".pair")?.querySelectorAll("input") ?? []) {
    if (twin !== input) twin.value = input.value;
  }
}

function chatMenu(button) {
  const exportAs = async (format) => {
    const answer = await ask("export", here({ format }));
    if (answer) saveFile(answer.name, answer.text);
  };
  openMenu(button, [
    [WORDS.UNDO, () => change("undo", {})],
    [WORDS.REDO, () => change("redo", {})],
    [WORDS.REPLAY, startReplay],
    [WORDS.PROMPT, () => openPanel("prompt", WORDS.PROMPT)],
    [WORDS.EXPORT_MARKDOWN, () => exportAs("markdown")],
    [WORDS.EXPORT_JSON, () => exportAs("json")],
    [WORDS.DELETE_CHAT, () => removeConversation(state.view.conversation), "danger"],
  ]);
}
