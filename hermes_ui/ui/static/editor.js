// Runs once for each board of the editor; `element`, `trigger`, `props` and `watch` are Gradio's.
// The events that a button may name: 'acted' 'stored' 'closed' 'started'; 'typed' is the form's.
const TYPED_MS = 60; // until Gradio has taken over what was typed, and for fast typists
const body = () => document.querySelector(".pe-body");

element.addEventListener("click", (event) => {
  const side = event.target.closest("[data-side]");
  if (side) {
    body().dataset.side = side.dataset.side;
    follow();
    return;
  }
  const button = event.target.closest("[data-act]");
  if (!button || button.disabled) return;
  const { act, key = "", event: name = "acted" } = button.dataset;
  if (button.closest(".pe-list")) hold(act);
  trigger(name, { act, key });
});

// Until the answer is there, the controls below a list still belong to the item open before.
let held = "";
const detail = () => element.closest(".block").parentElement.querySelectorAll(
  ".pe-detail textarea, .pe-detail input");

function hold(act) {
  held = act;
  for (const control of detail()) control.disabled = true;
}

function release() {
  if (!held) return;
  for (const control of detail()) control.disabled = false;
  if (held === "add") detail()[0]?.focus();
  held = "";
}

// The head listens for the whole form, which is mounted after it.
if (element.classList.contains("pe-on-head")) {
  // Tab leaves the YAML, as it leaves every other field; the code box would indent with it.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Tab" && event.target.closest?.("#pe-yaml .cm-content")) event.stopPropagation();
  }, true);
  let wait;
  document.addEventListener("input", (event) => {
    if (!event.target.closest?.(".pe-body")) return;
    clearTimeout(wait);
    wait = setTimeout(() => trigger("typed", {}), TYPED_MS);
  });
}

function follow() {
  release();
  const head = element.querySelector(".pe-head");
  if (head) {
    const form = document.querySelector(".pe-form");
    if (form) form.inert = head.dataset.broken !== "";
    const shown = body()?.dataset.side ?? "form";
    for (const side of element.querySelectorAll("[data-side]")) {
      side.setAttribute("aria-pressed", String(side.dataset.side === shown));
    }
    if (head.dataset.goes) trigger("started", {});
  }
  for (const time of element.querySelectorAll("time")) {
    const moment = new Date(time.dateTime);
    time.textContent = moment.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    time.title = time.dateTime;
  }
  const open = element.querySelector(".pe-item.is-open");
  const list = open?.parentElement;
  if (list && (open.offsetTop < list.scrollTop || open.offsetTop + open.offsetHeight > list.scrollTop + list.clientHeight)) {
    list.scrollTop = open.offsetTop - list.clientHeight / 2;
  }
}

watch("value", follow);
follow();
