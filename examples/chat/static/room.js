// What has been said is fetched, what is being said is streamed. The position that comes
// with the one is where the other begins: nothing falls between, and nothing comes twice.

import { post } from "./post.js";

const find = (selector) => document.querySelector(selector);
const room = find("main");
const list = find("#messages");
const form = find("form");
const input = form.elements.message;
const newest = find("#newest");

// Listening

let source; // the EventSource
let position; // everything up to here is on the page
let timer; // until it is tried again

async function load() {
  let history;
  try {
    const response = await fetch("messages");
    if (response.status === 401) return location.reload();
    if (!response.ok) throw new Error(response.statusText);
    history = await response.json();
  } catch {
    return tryAgain(load, 3);
  }
  list.replaceChildren();
  for (const data of history.messages) show(JSON.parse(data));
  list.setAttribute("aria-busy", "false");
  listen(history.position);
}

function listen(from) {
  clearTimeout(timer);
  source?.close();
  position = from;
  source = new EventSource(`stream?last_event_id=${encodeURIComponent(from)}`);
  source.onopen = () => tell(true);
  source.onmessage = (event) => {
    position = event.lastEventId;
    show(JSON.parse(event.data));
  };
  source.onerror = () => {
    tell(false);
    // It comes back by itself and goes on where it was, unless it was turned away.
    if (source.readyState === EventSource.CLOSED) tryAgain(() => listen(position), 3);
  };
  // Something that was said is not coming any more: begin again with what there is.
  source.addEventListener("push:gap", (event) => {
    source.close();
    tryAgain(load, JSON.parse(event.data).wait);
  });
}

function tryAgain(action, seconds) {
  tell(false);
  clearTimeout(timer);
  timer = setTimeout(action, seconds * 1000);
}

function tell(connected) {
  const state = find("#state");
  state.textContent = connected ? "connected" : "reconnecting…";
  state.classList.toggle("connected", connected);
}

// A phone that slept may hold a dead connection and not know. A new one misses nothing.
let hidden = 0;
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hidden = Date.now();
  else if (position && Date.now() - hidden > 20_000) listen(position);
});

// Showing

let atEnd; // whether the newest message is in view

function show({ user, name, text, time }) {
  const item = find("#message").content.firstElementChild.cloneNode(true);
  const set = (part, text) => (item.querySelector(part).textContent = text);
  const date = new Date(time * 1000);
  const before = list.lastElementChild?.dataset;
  // Names and texts are anybody's, and never become HTML.
  set(".name", name);
  set(".initial", [...name][0]);
  set(".text", text);
  set("time", date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  item.querySelector("time").dateTime = date.toISOString();
  item.dataset.user = user;
  item.dataset.day = date.toDateString();
  item.style.setProperty("--hue", hue(user));
  item.classList.toggle("own", user === document.body.dataset.user);
  if (before?.day !== item.dataset.day) list.append(newDay(date));
  else item.classList.toggle("again", before.user === user);
  atEnd = isAtEnd();
  list.append(item);
  if (atEnd || item.classList.contains("own")) scrollToEnd();
  else newest.hidden = false;
}

function newDay(date) {
  const item = document.createElement("li");
  const today = date.toDateString() === new Date().toDateString();
  const long = { weekday: "long", day: "numeric", month: "long" };
  item.className = "day";
  item.textContent = today ? "Today" : date.toLocaleDateString([], long);
  return item;
}

function hue(user) {
  return [...user].reduce((sum, letter) => (sum * 31 + letter.codePointAt()) % 360, 0);
}

function isAtEnd() {
  return room.scrollHeight - room.scrollTop - room.clientHeight < 48;
}

function scrollToEnd() {
  room.scrollTop = room.scrollHeight;
}

room.addEventListener("scroll", () => {
  atEnd = isAtEnd();
  if (atEnd) newest.hidden = true;
});
newest.addEventListener("click", scrollToEnd);
// Where a keyboard comes up, or the window changes.
new ResizeObserver(() => atEnd && scrollToEnd()).observe(room);

// Saying

let sending = Promise.resolve();
let draft = {};

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const message = input.value;
  write("");
  // One after another, so that they come in the order in which they were written.
  sending = sending.then(() => send(message));
});

async function send(message) {
  // Sent again, it has the key that it had, and is heard once.
  if (draft.message !== message) draft = { message, key: newKey() };
  const problem = await post("messages", draft);
  if (problem) write([message, input.value].filter(Boolean).join("\n"));
  else draft = {};
  find("#error").textContent = problem;
}

function newKey() {
  return crypto.getRandomValues(new Uint32Array(3)).join("-");
}

function write(text) {
  input.value = text;
  fit();
}

// For browsers that don't know CSS's field-sizing yet.
function fit() {
  input.rows = Math.min(6, input.value.split("\n").length);
}

input.addEventListener("input", () => {
  fit();
  find("#error").textContent = "";
});

input.addEventListener("keydown", (event) => {
  // While a word is being composed, Enter picks it. Safari only says so with a number.
  const composing = event.isComposing || event.keyCode === 229;
  if (event.key !== "Enter" || event.shiftKey || composing) return;
  event.preventDefault();
  form.requestSubmit();
});

load();
