// Runs once for each time the gallery is mounted; `element`, `trigger` and `watch` are Gradio's.
const find = (selector) => element.querySelector(selector);
const all = (selector) => [...element.querySelectorAll(selector)];
const chosenTags = new Set();

function filter() {
  const search = find(".pg-search input");
  if (!search) return;
  const wanted = search.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  const cards = all(".pg-card[data-slug]");
  for (const card of cards) {
    const tags = JSON.parse(card.dataset.tags);
    const fits =
      wanted.every((word) => card.dataset.find.includes(word)) &&
      [...chosenTags].every((tag) => tags.includes(tag));
    card.hidden = !fits;
    shown += fits;
  }
  for (const chip of all(".pg-chip")) {
    chip.setAttribute("aria-pressed", String(chosenTags.has(chip.dataset.tag)));
  }
  const narrowed = wanted.length > 0 || chosenTags.size > 0;
  find(".pg-new").hidden = narrowed;
  find(".pg-none").hidden = !narrowed || shown > 0;
  find(".pg-tools [role=status]").textContent = narrowed ? `${shown} / ${cards.length}` : "";
}

function clear() {
  chosenTags.clear();
  const search = find(".pg-search input");
  search.value = "";
  filter();
  search.focus();
}

// The dialog lives outside the component: a refresh of the cards must not tear it.
function preview(card) {
  document.getElementById("pg-dialog")?.remove();
  const dialog = document.createElement("dialog");
  dialog.id = "pg-dialog";
  dialog.className = "pg-dialog";
  dialog.setAttribute("aria-label", card.querySelector("[data-act=previewed]").ariaLabel);
  const body = document.createElement("div");
  for (const part of [".pg-head", ".pg-line", ".pg-chips", ".pg-said"]) {
    const copy = card.querySelector(part).cloneNode(true);
    copy.hidden = false;
    for (const name of copy.querySelectorAll(".pg-open")) name.replaceWith(...name.childNodes);
    body.append(copy);
  }
  const foot = document.createElement("form");
  foot.method = "dialog";
  const choices = [
    ["", find(".pg").dataset.close],
    ["edited", card.querySelector("[data-act=edited]").textContent],
    ["chosen", card.querySelector(".pg-go").textContent],
  ];
  for (const [act, label] of choices) {
    const button = document.createElement("button");
    button.value = act;
    button.textContent = label;
    if (act === "chosen") button.autofocus = true;
    foot.append(button);
  }
  dialog.append(body, foot);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close(""));
  dialog.addEventListener("close", () => {
    if (dialog.returnValue) trigger(dialog.returnValue, { slug: card.dataset.slug });
    else card.querySelector("[data-act=previewed]")?.focus();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
}

element.addEventListener("input", filter);
element.addEventListener("click", (event) => {
  const chip = event.target.closest(".pg-chip");
  if (chip) {
    const tag = chip.dataset.tag;
    if (!chosenTags.delete(tag)) chosenTags.add(tag);
    filter();
    return;
  }
  const button = event.target.closest("[data-act]");
  if (!button) return;
  const card = button.closest(".pg-card");
  const act = button.dataset.act;
  if (act === "cleared") clear();
  else if (act === "previewed") preview(card);
  else if (act === "created") trigger("created", { slug: "" });
  else if (act === "edited") trigger("edited", { slug: card.dataset.slug });
  else if (act === "chosen") trigger("chosen", { slug: card.dataset.slug });
});
watch("value", filter);
