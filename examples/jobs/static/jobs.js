// Each import is an item of one channel as long as its run is known: it says how far the import is.
// When an import has ended, its row says what came of it.

import { connect } from "../push/items.js";

const find = (selector) => document.querySelector(selector);
const { stream, imports } = document.body.dataset;
const list = find("ol"), template = find("template");
const ACTIVE = ["queued", "running", "stopping"];
const STATUS = { stopping: "being cancelled", done: "imported", stopped: "cancelled", lost: "interrupted" };

const push = connect(stream);
push.items("imports", (items, changed) => {
  for (const name of changed) {
    const item = items.get(name);
    if (item) update(name.slice("import:".length), item);
  }
});
push.on("state", (state) => {
  find("#state").textContent = state === "open" ? "connected" : "reconnecting…";
  find("#state").classList.toggle("connected", state === "open");
});
for (const card of list.children) {
  fill(card, card.dataset.name);
  const { result } = card.dataset;
  draw(card, result ? { status: "done", text: result } : { status: "", text: "" });
}

function update(id, { status, done, total, text, info }) {
  const card = document.getElementById(id) ?? add(id, info.name);
  draw(card, { status, done, total, text });
  if (status === "done") fetchResult(card);
}

function add(id, name) {
  const card = Object.assign(document.createElement("li"), { id });
  list.prepend(card);
  fill(card, name);
  return card;
}

function fill(card, name) {
  card.append(template.content.cloneNode(true));
  card.querySelector("h2").textContent = name;
  card.querySelector("button").addEventListener("click", () => {
    const isActive = ACTIVE.includes(card.dataset.status);
    post(`${imports}/${card.id}/${isActive ? "cancel" : "start"}`);
  });
}

function draw(card, { status, done, total, text }) {
  card.dataset.status = status;
  const isActive = ACTIVE.includes(status), button = card.querySelector("button");
  card.querySelector(".status").textContent = STATUS[status] ?? status;
  card.querySelector(".text").textContent = text;
  const progress = card.querySelector("progress");
  progress.hidden = !isActive;
  progress.max = total || 1;
  if (status === "queued" || !total) progress.removeAttribute("value");
  else progress.value = done;
  button.hidden = status === "done" || status === "stopped" || status === "stopping";
  button.textContent = isActive ? "Cancel" : "Start again";
}

async function fetchResult(card) {
  const answer = await fetch(`${imports}/${card.id}`).catch(() => ({}));
  if (!answer.ok) return setTimeout(fetchResult, 1000, card);
  card.querySelector(".text").textContent = (await answer.json()).result;
}

async function post(path, body) {
  const answer = await fetch(path, { method: "POST", body }).catch(() => ({}));
  find("#error").hidden = answer.ok;
  find("#error").textContent = "The server did not answer. Please try again.";
}

function upload(file) {
  const body = new FormData();
  body.set("file", file);
  return post(imports, body);
}

/** A file with a price in each row, but for one. */
function invent(rows, bad) {
  const lines = Array.from({ length: rows }, (_, n) => `Thing ${n + 1},${n + 1 === bad ? "?" : (n % 90) + 9.5}`);
  const now = new Date().toLocaleTimeString("en-GB");
  return new File([lines.join("\n")], `${bad ? "bad" : "good"} ${now}.csv`);
}

for (const button of document.querySelectorAll("form button")) {
  const { rows, bad } = button.dataset;
  button.addEventListener("click", () => upload(invent(Number(rows), Number(bad))));
}
find("input").addEventListener("change", async ({ target }) => {
  for (const file of target.files) await upload(file);
  target.value = "";
});
