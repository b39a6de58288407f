// What has been said is fetched, what is being said is streamed. The position that comes
// with the one is where the other begins: nothing falls between, and nothing comes twice.
// Who is there and who is typing is on the same stream, and needs no history.

import { connect } from "../push/presence.js";
import { NO_ANSWER, post } from "./post.js";

const find = (selector) => document.querySelector(selector);
const room = find("main");
const list = find("#messages");
const form = find("form");
const input = form.elements.message;
const newest = find("#newest");
const me = document.body.dataset.user;

// Listening

let push;

async function load() {
  let history;
  try {
    const response = await fetch("messages");
    if (response.status === 401) return location.reload();
    if (!response.ok) throw new Error(response.statusText);
    history = await response.json();
  } catch {
    return tryAgain(3);
  }
  list.replaceChildren();
  for (const data of history.messages) show(JSON.parse(data));
  list.setAttribute("aria-busy", "false");
  listen(history.position);
}

function listen(since) {
  push = connect("stream", { since, key: me });
  push.subscribe("chat", show);
  push.presence("chat", showPeople);
  push.items("typing", showTyping, { parse: "text" });
  push.on("state", (state, { status }) => {
    tell(state === "open");
    if (state === "open") sendAll();
    else if (status === 401) location.reload();
    else if (state === "closed" && status) tryAgain(3);
  });
  // Something that was said is not coming any more: begin again with what there is.
  push.on("gap", ({ wait }) => tryAgain(wait));
}

function tryAgain(seconds) {
  push?.close();
  tell(false);
  setTimeout(load, seconds * 1000);
}

function tell(connected) {
  const state = find("#state");
  const away = navigator.onLine ? "reconnecting…" : "offline";
  connected &&= navigator.onLine;
  state.textContent = connected ? "connected" : away;
  state.classList.toggle("connected", connected);
}

addEventListener("offline", () => tell(false));
addEventListener("online", () => {
  tell(push?.state === "open");
  sendAll();
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
  item.classList.toggle("own", user === me);
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

function showPeople(members, { count }) {
  const people = find("#people");
  const others = [...members.values()].filter(({ user }) => user !== me);
  const more = count - 1 - Math.min(others.length, 4);
  people.hidden = !others.length;
  people.ariaLabel = `${count} people are here`;
  people.replaceChildren(...others.slice(0, 4).map(newInitial));
  if (more > 0) people.append(`+${more}`);
  find("#names").replaceChildren(...[...members.values()].map(newPerson));
}

function newPerson({ user, info }) {
  const item = document.createElement("li");
  item.append(newInitial({ user, info }), user === me ? `${info.name} (you)` : info.name);
  return item;
}

function newInitial({ user, info }) {
  const item = document.createElement("span");
  item.className = "initial";
  item.textContent = [...info.name][0];
  item.style.setProperty("--hue", hue(user));
  return item;
}

function showTyping(names) {
  const others = [...names].filter(([user]) => user !== me).map(([, name]) => name);
  const who = others.length > 2 ? `${others.length} people` : others.join(" and ");
  atEnd = isAtEnd();
  find("#typing").textContent = who && `${who} ${others.length > 1 ? "are" : "is"} typing`;
  if (atEnd) scrollToEnd();
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

// What nobody has heard yet, oldest first. It outlives the page, for as long as its tab.
const unsent = JSON.parse(sessionStorage.unsent ?? "[]");
let sending = false;
let typing; // the last request that said so
let typed = 0; // when
let later; // until it is tried again

form.addEventListener("submit", (event) => {
  event.preventDefault();
  // Sent again, it has the key that it had, and is heard once.
  unsent.push({ message: input.value, key: newKey() });
  write("");
  sendAll();
});

// One after another, so that they come in the order in which they were written.
async function sendAll() {
  if (sending || !unsent.length) return;
  clearTimeout(later);
  sending = true;
  let problem = "";
  keep();
  // Otherwise this user might be typing once more after the message.
  await typing;
  typed = 0;
  while (unsent.length && !problem) {
    problem = await post("messages", unsent[0]);
    if (problem === NO_ANSWER) break;
    const { message } = unsent.shift();
    if (problem) write([message, input.value].filter(Boolean).join("\n"));
    keep();
  }
  sending = false;
  const late = problem === NO_ANSWER;
  find("#error").textContent = late ? "" : problem;
  find("#unsent").replaceChildren(...(late ? unsent.map(newLine) : []));
  if (unsent.length) later = setTimeout(sendAll, 3000);
}

function keep() {
  sessionStorage.unsent = JSON.stringify(unsent);
}

function newLine({ message }) {
  const item = document.createElement("li");
  item.textContent = message;
  return item;
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
  if (!input.value || Date.now() - typed < 2000) return;
  typed = Date.now();
  typing = post("typing", {});
});

input.addEventListener("keydown", (event) => {
  // While a word is being composed, Enter picks it. Safari only says so with a number.
  const composing = event.isComposing || event.keyCode === 229;
  if (event.key !== "Enter" || event.shiftKey || composing) return;
  event.preventDefault();
  form.requestSubmit();
});

load();
