// Puts the parts together: what is shown, where clicks lead, and what Gradio hands over.

function show(mode) {
  if (mode !== "chat" && state.mode === "chat") {
    endReplay();
    live?.trigger("leave");
    state.view = null;
    state.run = "";
    history.pushState(null, "", addressOf(""));
  }
  if (mode !== state.mode) scrollTo(0, 0);
  state.mode = mode;
  document.body.dataset.view = mode;
  if (mode !== "chat") document.title = WORDS.PRODUCT;
  openSidebar(false);
  markRow();
}

function addressOf(conversation) {
  const url = new URL(location.href);
  if (conversation) url.searchParams.set("c", conversation);
  else url.searchParams.delete("c");
  return url;
}

async function open(conversation, { replace = false } = {}) {
  const answer = await askQuietly("view", { conversation });
  if (!answer || answer.error) {
    const unknown = answer?.kind === "NotFound" ? WORDS.UNKNOWN_CONVERSATION : answer?.error;
    notice(unknown ?? WORDS.UNREACHABLE, { kind: "error" });
    show("gallery");
    history.replaceState(null, "", addressOf(""));
    return;
  }
  enter(answer, { replace });
}

function enter(view, { replace = false } = {}) {
  endReplay();
  state.run = "";
  state.mode = "chat";
  document.body.dataset.view = "chat";
  const url = addressOf(view.conversation);
  if (replace || url.href === location.href) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  if (state.view?.conversation === view.conversation) state.view = null;
  draw(view, { newest: true });
  showDraft();
  openSidebar(false);
  markRow();
  refreshMeter();
  if (matchMedia("(pointer: fine)").matches) part("input").focus();
}

async function start(slug) {
  if (state.starting) return;
  state.starting = true;
  const answer = await ask("start", { slug });
  state.starting = false;
  if (!answer) return;
  enter(answer);
  refreshRows();
}

const pageActions = {
  gallery: () => show("gallery"),
  "open-sidebar": () => openSidebar(true),
  "close-sidebar": () => openSidebar(false),
  theme: toggleTheme,
  open: (button) => open(button.closest("[data-conversation]").dataset.conversation),
  "row-menu": rowMenu,
  restore: (button) => restoreConversation(button.closest("[data-conversation]").dataset.conversation),
  deleted: toggleDeleted,
  "rename-here": (button) => renameIn(button, state.view.conversation),
  "chat-menu": chatMenu,
  model: () => openPanel("model", WORDS.MODEL).then(refreshChip),
  settings: () => openPanel("settings", WORDS.SETTINGS),
  prompt: () => openPanel("prompt", WORDS.PROMPT),
  pin: () => change("pin", {}),
  answer: () => change("answer", {}, { newest: true }),
  undo: () => change("undo", {}),
  redo: () => change("redo", {}),
  earlier: () => page("earlier"),
  newer: () => page("newer"),
  newest: toNewest,
  "close-drawer": () => part("drawer").close(),
  "model-download": () => modelAction("model-download"),
  "model-cancel": () => modelAction("model-cancel"),
  "model-use": (button) => modelAction("model-use", { model: button.dataset.model ?? "hermes" }),
  "sampling-reset": () => redrawSettings("sampling-reset"),
  "sampling-default": (button) => redrawSettings("sampling", { name: button.dataset.name, values: {} }),
  "replay-again": startReplay,
  "replay-stop": endReplay,
  "copy-code": (button) => copyText(button.closest(".code").querySelector("code").textContent),
};

function onClick(event) {
  const menu = part("menu");
  if (!menu.contains(event.target) && !event.target.closest("[aria-haspopup]")) closeMenu();
  const button = event.target.closest("[data-action]");
  if (!button || button.disabled) return;
  const article = button.closest("article[data-id]");
  const action = button.dataset.action;
  if (article && messageActions[action]) messageActions[action](article, button);
  else pageActions[action]?.(button);
}

function listen() {
  root.addEventListener("click", onClick);
  part("menu").addEventListener("keydown", walkMenu);
  part("drawer").addEventListener("click", (event) => {
    if (event.target === part("drawer")) part("drawer").close();
  });
  part("drawer").addEventListener("change", (event) => saveField(event.target));
  part("drawer").addEventListener("input", (event) => mirrorField(event.target));
  part("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    sendOrStop();
  });
  const input = part("input");
  input.addEventListener("keydown", typeInInput);
  input.addEventListener("input", () => {
    fitInput(input);
    keepDraft();
  });
  let typing = 0;
  part("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(refreshRows, 180);
  });
  part("scroller").addEventListener("scroll", noteEnd, { passive: true });
  const stayAtEnd = () => follows && toBottom();
  addEventListener("resize", stayAtEnd); // comes before the scroll that a resize may cause
  new ResizeObserver(stayAtEnd).observe(part("scroller"));
  part("replay-bar").addEventListener("change", startReplay);
  addEventListener("popstate", () => {
    part("drawer").close(); // they speak of the conversation that is left
    closeMenu();
    const conversation = new URL(location.href).searchParams.get("c");
    if (conversation) open(conversation, { replace: true });
    else if (state.mode === "chat") leaveQuietly();
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && root.querySelector(".with-sidebar")) openSidebar(false);
  });
  document.addEventListener("visibilitychange", () => {
    pulse();
    refreshChip();
  });
}

function leaveQuietly() {
  endReplay();
  live?.trigger("leave");
  state.view = null;
  state.run = "";
  state.mode = "gallery";
  document.body.dataset.view = "gallery";
  document.title = WORDS.PRODUCT;
  markRow();
}

// A keyboard on a phone covers the page; the input has to stay above it.
function watchViewport() {
  const seen = window.visualViewport;
  if (!seen) return;
  const fit = () => {
    root.style.setProperty("--seen-height", `${seen.height}px`);
    root.style.setProperty("--seen-top", `${seen.offsetTop}px`);
  };
  seen.addEventListener("resize", fit);
  seen.addEventListener("scroll", fit);
  fit();
}

function bootShell(node, server) {
  root = node;
  askServer = (sent) => server.ask(sent);
  document.head.append(pictureRules);
  prefersDark.addEventListener("change", () => setTimeout(applyTheme));
  applyTheme();
  listen();
  watchViewport();
  const conversation = new URL(location.href).searchParams.get("c");
  if (conversation) open(conversation, { replace: true });
  else show("gallery");
  refreshRows();
  refreshChip();
  setInterval(pulse, 2500);
  setInterval(refreshChip, 2500);
}

window.hermes = {
  shell: bootShell,
  show,
  start,
  live(wire) {
    live = wire;
    wire.watch("value", () => drawLive(wire.props.value));
    if (state.run && state.run !== "lost") wire.trigger("follow", { run: state.run });
  },
  stage(wire) {
    stage = wire;
    wire.watch("value", () => drawScene(wire.props.value));
  },
};
