// The bounded window of messages, and the reply that is being written below it.

const drawnHtml = new WeakMap(); // what each message node was made of
let live = null; // the wire on which a reply arrives
let settledBlocks = 0;
let lastHeard = 0;
let follows = true; // the reader is at the end, and stays there when the box changes its size
let seen = { top: 0, lowest: 0 }; // of the scroller: its place, and the lowest that there was

const atBottom = () => {
  const box = part("scroller");
  return box.scrollHeight - box.scrollTop - box.clientHeight < 48;
};

// Whoever scrolls up, be it by little, wants to read there. A box that grew, or lost text at its
// end, moves by itself.
function noteEnd() {
  const box = part("scroller");
  const lowest = box.scrollHeight - box.clientHeight;
  const goesUp = box.scrollTop < Math.min(seen.top, lowest) - 1 && lowest >= seen.lowest - 1;
  const stays = goesUp || (box.scrollTop <= seen.top + 1 && !follows);
  follows = !stays && atBottom() && !state.end;
  seen = { top: box.scrollTop, lowest };
  part("newest").hidden = follows || atBottom();
}

function toBottom() {
  const box = part("scroller");
  box.scrollTop = box.scrollHeight;
  follows = true;
  noteEnd();
}

// Change the page without moving what is being read, unless the reader is at its end.
function steadily(change, { bottom = false } = {}) {
  const box = part("scroller");
  noteEnd();
  const toEnd = bottom || follows;
  const top = box.getBoundingClientRect().top;
  const anchor = toEnd
    ? null
    : [...part("messages").children].find((node) => node.getBoundingClientRect().bottom > top);
  const before = anchor?.getBoundingClientRect().top;
  change();
  if (toEnd) toBottom();
  else if (anchor?.isConnected) {
    box.scrollTop += anchor.getBoundingClientRect().top - before;
    seen.top = box.scrollTop;
  }
}

function drawItems(items) {
  const list = part("messages");
  const known = new Map([...list.children].map((node) => [node.dataset.id, node]));
  let previous = null;
  for (const item of items) {
    let node = known.get(item.id);
    known.delete(item.id);
    if (!node || drawnHtml.get(node) !== item.html) {
      const fresh = fragment(item.html).firstElementChild;
      node?.replaceWith(fresh);
      node = fresh;
      drawnHtml.set(node, item.html);
    }
    const place = previous ? previous.nextSibling : list.firstChild;
    if (place !== node) list.insertBefore(node, place);
    previous = node;
  }
  for (const node of known.values()) node.remove();
}

function label(name, text) {
  const button = part(name);
  button.textContent = text;
  button.hidden = !text;
}

function draw(view, options = {}) {
  const fresh = state.view?.conversation !== view.conversation;
  state.view = view;
  if (options.newest || fresh) state.limit = null;
  state.end = view.end;
  steadily(
    () => {
      if (fresh) part("messages").replaceChildren();
      drawItems(view.items);
      label("earlier", view.earlier);
      label("newer", view.newer);
      label("empty", view.items.length || view.run ? "" : view.empty);
      label("failure", options.failure ?? "");
      part("unanswered").hidden = !view.unanswered;
      drawLiveFrame(view);
    },
    { bottom: options.newest || fresh },
  );
  drawHead(view);
  fetchPictures();
}

function drawLiveFrame(view) {
  const box = part("live");
  if (view.run !== state.run || !view.run) {
    box.replaceChildren();
    settledBlocks = 0;
  }
  const starts = view.run && view.run !== state.run;
  state.run = view.run;
  part("composer").classList.toggle("writing", Boolean(view.run));
  part("send").setAttribute("aria-label", view.run ? WORDS.STOP : WORDS.SEND);
  part("send").title = view.run ? WORDS.STOP : WORDS.SEND;
  box.hidden = !view.runs_here;
  if (starts) {
    box.append(fragment(view.live));
    lastHeard = Date.now();
    live?.trigger("leave");
    live?.trigger("follow", { run: view.run });
  } else if (!view.run) {
    live?.trigger("leave");
  }
}

// One update of the reply: only blocks that are new, and the one being written.
function drawLive(value) {
  if (!value || value.run !== state.run) return;
  lastHeard = Date.now();
  if (value.state === "done" || value.state === "failed") {
    endLive(value);
    return;
  }
  const frame = part("live").firstElementChild;
  if (!frame) return;
  steadily(() => {
    const text = frame.querySelector(".text");
    if (value.blocks.length < settledBlocks || !text.lastElementChild) {
      text.replaceChildren(element("div", { class: "open" }));
      settledBlocks = 0;
    }
    const open = text.lastElementChild;
    for (const block of value.blocks.slice(settledBlocks)) open.before(fragment(block));
    settledBlocks = value.blocks.length;
    open.innerHTML = value.open;
    frame.classList.toggle("silent", !value.blocks.length && !value.open);
    frame.querySelector(".note").textContent = value.note;
    const activity = frame.querySelector(".activity");
    if (activity.innerHTML !== value.activity) activity.innerHTML = value.activity;
  });
  noteEnd();
}

async function endLive(value) {
  const conversation = state.view.conversation;
  const run = value.run;
  const answer = await ask("view", here());
  if (!answer || state.view?.conversation !== conversation || state.run !== run) return;
  draw(answer, { failure: value.error });
  const last = part("messages").lastElementChild;
  part("announcer").textContent = last?.querySelector(".text")?.textContent ?? "";
  refreshRows();
  refreshMeter();
}

async function refresh(options = {}) {
  const conversation = state.view?.conversation;
  const answer = await askQuietly("view", here());
  if (answer && !answer.error && state.view?.conversation === conversation) draw(answer, options);
}

// Another tab, another device or a restarted server may have changed what is shown here.
async function pulse() {
  if (document.hidden || state.sending || !state.view || state.mode !== "chat") return;
  const conversation = state.view.conversation;
  const answer = await askQuietly("pulse", { conversation });
  if (!answer || answer.error || state.view?.conversation !== conversation || state.sending) return;
  if (answer.version === state.view.version) return;
  const quietFor = Date.now() - lastHeard;
  if (state.run && answer.version.endsWith(`/${state.run}`) && quietFor < 8000) return;
  if (state.run && quietFor < 3000) return;
  if (state.run) state.run = "lost";
  await refresh();
  refreshRows();
  refreshMeter();
}

async function page(direction) {
  const { items, limit, most, conversation } = state.view;
  const size = state.limit ?? limit;
  const more = { conversation, end: state.end, limit: Math.min(most, size + limit) };
  if (direction === "newer") more.after = items.at(-1).id;
  else if (size >= most) more.end = items.at(-1 - limit).id;
  const answer = await ask("view", more);
  if (!answer) return;
  state.limit = more.limit;
  draw(answer);
}

async function toNewest() {
  if (state.end) {
    state.end = "";
    state.limit = null;
    await refresh({ newest: true });
  }
  part("scroller").scrollTo({ top: part("scroller").scrollHeight, behavior: "auto" });
}
