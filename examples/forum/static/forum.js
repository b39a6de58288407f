// The view has rendered the page, and the stream adds what is new. When the server ends the
// stream, the page asks its own view again, and shows why.

import { connect } from "../push/items.js";
import { askAgain, tell } from "./notice.js";

const find = (selector) => document.querySelector(selector);
const comments = find("#comments"), bell = find("#bell"), links = document.querySelectorAll("nav a");
const { user, group, since, stream, read } = document.body.dataset;

// Streams of different users are never shared.
const push = connect(stream, { since, key: user, parse: "text" });

push.subscribe(`user:${user}`, () => {}).on("added", askAgain);
// For each group, how many comments this user has not read.
push.items(`user:${user}`, ring, { parse: "json" });
for (const link of links) {
  const isHere = link.dataset.group === group;
  const subscription = push.subscribe(`group:${link.dataset.group}`, isHere ? add : () => {});
  if (isHere) subscription.on("members", (html) => (find("#members").innerHTML = html));
}

push.on("disconnect", ({ reason }) => askAgain(reason));
push.on("state", (state, { status }) => {
  find("#state").textContent = state === "open" ? "connected" : "reconnecting…";
  find("#state").classList.toggle("connected", state === "open");
  // A browser that was in the middle of an event, or away, does not receive the disconnect.
  if (status === 401) askAgain();
});
// The view grants fewer groups than the page shows.
push.on("error", () => askAgain());
push.on("gap", ({ wait }) => setTimeout(askAgain, wait * 1000));

function add(html) {
  // The server has escaped the text.
  const [comment] = document.createRange().createContextualFragment(html).children;
  // One that was written while the view read the others is in both.
  if (!document.getElementById(comment.id)) comments.append(comment);
  arrange();
}

let unread = 0, counts = new Map();

function ring(items) {
  let sum = 0;
  counts = items;
  for (const link of links) {
    const count = items.get(link.dataset.group) ?? 0;
    const isRead = link.dataset.group === group && !document.hidden;
    if (isRead && count) fetch(read, { method: "POST" }).catch(() => {});
    sum += show(link.querySelector("b"), isRead ? 0 : count);
  }
  show(bell.querySelector("b"), sum);
  bell.ariaLabel = `${sum || "No"} unread comment${sum === 1 ? "" : "s"}`;
  document.title = (sum ? `(${sum}) ` : "") + (group || "Forum");
  if (sum > unread && !matchMedia("(prefers-reduced-motion)").matches)
    bell.querySelector("svg").animate({ rotate: ["0deg", "18deg", "-14deg", "9deg", "0deg"] }, 600);
  unread = sum;
}

document.addEventListener("visibilitychange", () => ring(counts));

function show(badge, count) {
  badge.textContent = count || "";
  badge.hidden = !count;
  return count;
}

function arrange() {
  for (const time of comments.querySelectorAll("time:empty")) {
    const date = new Date(time.dataset.seconds * 1000);
    const today = date.toDateString() === new Date().toDateString();
    const clock = { hour: "2-digit", minute: "2-digit" };
    time.textContent = date.toLocaleString([], today ? clock : { day: "numeric", month: "short", ...clock });
    time.dateTime = date.toISOString();
  }
  comments.scrollTop = comments.scrollHeight;
}

// A form of this class leaves the page as it is. What it changes arrives on the stream.
addEventListener("submit", async (event) => {
  const form = event.target, body = new FormData(form);
  if (!form.matches(".stays")) return;
  event.preventDefault();
  form.reset();
  const answer = await fetch(form.action, { method: "POST", body }).catch(() => ({}));
  if (answer.status === 401 || answer.status === 403) askAgain();
  else if (answer.ok) tell("");
  else {
    tell("The server did not answer. Please try again.");
    if (form.elements.text) form.elements.text.value = body.get("text");
  }
});

if (comments) arrange();
