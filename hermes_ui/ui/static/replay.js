// A conversation played back. The real one waits behind the stage, untouched.

let stage = null; // the wire on which scenes arrive
let playing = "";
let shownScenes = [];

function startReplay() {
  playing = String(Date.now());
  shownScenes = [];
  const speed = part("replay-bar").querySelector("input:checked").value;
  part("chat").classList.add("replaying");
  part("stage").hidden = part("replay-bar").hidden = false;
  part("replay-bar").classList.remove("over");
  part("replay-bar").querySelector("strong").textContent = WORDS.REPLAY;
  part("stage").replaceChildren(element("div", { class: "said" }), element("div", { class: "open" }));
  stage.trigger("hush");
  stage.trigger("replay", { conversation: state.view.conversation, speed, token: playing });
}

function endReplay() {
  if (!playing) return;
  playing = "";
  stage.trigger("hush");
  part("chat").classList.remove("replaying");
  part("stage").hidden = part("replay-bar").hidden = true;
  part("stage").replaceChildren();
  toBottom();
}

function drawScene(value) {
  if (!value || value.token !== playing) return;
  if (value.error) notice(value.error, { kind: "error" });
  const [said, open] = part("stage").children;
  const follows = atBottom();
  const turned = shownScenes.some((html, index) => value.page[index] !== html);
  if (turned) said.replaceChildren();
  for (const html of value.page.slice(turned ? 0 : shownScenes.length)) said.append(fragment(html));
  shownScenes = value.page;
  open.innerHTML = value.open;
  part("replay-bar").classList.toggle("over", value.over);
  if (follows) toBottom();
  fetchPictures();
}
