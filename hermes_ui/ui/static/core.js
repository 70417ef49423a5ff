// What every part of the page shares: where things are, asking the server, notices, the theme.

const state = {
  view: null, // what the server said last about the conversation that is shown
  end: "", // the message at which the window ends; "": the newest
  limit: null, // messages in the window
  run: "", // the reply being written in this conversation
  sending: false,
  mode: "loading", // "gallery", "chat", "editor"
};
let root = null;
let askServer = null;

const part = (name) => root.querySelector(`[data-part="${name}"]`);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const stored = {
  get(key) {
    try {
      return localStorage.getItem(`hermes.${key}`) ?? "";
    } catch {
      return "";
    }
  },
  set(key, value) {
    try {
      if (value) localStorage.setItem(`hermes.${key}`, value);
      else localStorage.removeItem(`hermes.${key}`);
    } catch {
      // A browser that keeps nothing still shows the page.
    }
  },
};

// The answer, or null when there is none; what went wrong is said once, here.
async function ask(action, fields = {}) {
  const answer = await askQuietly(action, fields);
  if (!answer) notice(WORDS.UNREACHABLE, { kind: "error" });
  else if (answer.error) notice(answer.error, { kind: "error" });
  return answer && !answer.error ? answer : null;
}

async function askQuietly(action, fields = {}) {
  return (await askServer({ do: action, ...fields })) ?? null;
}

// Fields that every action on the conversation needs.
const here = (more = {}) => ({
  conversation: state.view?.conversation ?? "",
  end: state.end,
  limit: state.limit,
  ...more,
});

function fragment(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null) continue;
    node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

function notice(text, { kind = "plain", action = null, seconds = 5 } = {}) {
  const box = element("div", { class: kind === "error" ? "notice error" : "notice" }, element("span", {}, text));
  const leave = () => box.remove();
  if (action) {
    const button = element("button", { type: "button", class: "link" }, action.label);
    button.addEventListener("click", () => {
      leave();
      action.run();
    });
    box.append(button);
  }
  const close = element("button", { type: "button", class: "shut", "aria-label": WORDS.CLOSE }, "×");
  close.addEventListener("click", leave);
  box.append(close);
  const region = part("notices");
  const drawer = part("drawer"); // while it is open, nothing outside of it can be reached
  (drawer.open ? drawer : root.querySelector(".shell")).append(region);
  while (region.children.length > 2) region.firstChild.remove();
  region.append(box);
  setTimeout(leave, (action ? 10 : kind === "error" ? 8 : seconds) * 1000);
}

// A menu that hangs on `button`; `items` are [label, run] or [label, run, "danger"].
function openMenu(button, items) {
  const menu = part("menu");
  menu.replaceChildren(
    ...items.map(([label, run, kind = ""]) => {
      const item = element("button", { type: "button", role: "menuitem", class: kind }, label);
      item.addEventListener("click", () => {
        closeMenu(true);
        run();
      });
      return item;
    }),
  );
  menu.opener = button;
  button.setAttribute("aria-expanded", "true");
  menu.showPopover();
  const at = button.getBoundingClientRect();
  const size = menu.getBoundingClientRect();
  const below = at.bottom + 6 + size.height < innerHeight;
  menu.style.left = `${clamp(at.right - size.width, 8, innerWidth - size.width - 8)}px`;
  menu.style.top = `${below ? at.bottom + 6 : Math.max(8, at.top - 6 - size.height)}px`;
  menu.firstElementChild.focus();
}

function closeMenu(giveFocusBack = false) {
  const menu = part("menu");
  if (!menu.matches(":popover-open")) return;
  menu.hidePopover();
  menu.opener?.setAttribute("aria-expanded", "false");
  if (giveFocusBack) menu.opener?.focus();
}

function walkMenu(event) {
  const items = [...part("menu").children];
  const at = items.indexOf(document.activeElement);
  if (event.key === "Escape") closeMenu(true);
  else if (event.key === "ArrowDown") items[(at + 1) % items.length].focus();
  else if (event.key === "ArrowUp") items[(at - 1 + items.length) % items.length].focus();
  else if (event.key === "Tab") closeMenu();
  else return;
  event.preventDefault();
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages that come over plain HTTP have no clipboard of their own.
    const box = element("textarea", { class: "unseen" });
    box.value = text;
    root.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  }
  notice(WORDS.COPIED, { seconds: 2 });
}

function saveFile(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// Pictures come once for each persona version and serve every bubble that shows it.
const pictures = new Map();
const pictureRules = element("style");

async function fetchPictures() {
  const missing = new Set();
  for (const face of document.querySelectorAll(".shell [data-avatar]")) {
    if (!pictures.has(face.dataset.avatar)) missing.add(face.dataset.avatar);
  }
  if (!missing.size) return;
  for (const digest of missing) pictures.set(digest, "");
  const answer = await askQuietly("avatars", { digests: [...missing] });
  for (const [digest, url] of Object.entries(answer?.avatars ?? {})) {
    pictures.set(digest, url);
    if (!url) continue;
    pictureRules.append(
      `.avatar[data-avatar="${CSS.escape(digest)}"] { background: center / cover url("${url}"); color: transparent; }\n`,
    );
  }
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function applyTheme() {
  const dark = stored.get("theme") ? stored.get("theme") === "dark" : prefersDark.matches;
  document.body.classList.toggle("dark", dark);
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
}

function toggleTheme() {
  const dark = !document.body.classList.contains("dark");
  stored.set("theme", dark === prefersDark.matches ? "" : dark ? "dark" : "light");
  applyTheme();
}
