// An answer is followed while it is made. At its end, and if there is none to follow, the page
// fetches the rows, and they decide: an answer that was stopped or is whole is one of them.

import { follow } from "../push/follow.js";
import { connect } from "../push/push.js";

const find = (selector) => document.querySelector(selector);
const { chat, url, since, running } = document.body.dataset;
const [messages, form, notice, stop] = ["ol", "form", ".notice", ".stop"].map(find);
const WHY = {
  failed: "The model failed.",
  lost: "The rest is lost: the process that made the answer has ended.",
};
let question, run, isAskedAgain;

// The questions of all devices, and so those of this page, too.
const push = connect(`${url}/stream`, { since });
push.subscribe(`chat:${chat}`, ({ id, text }) => {
  if (!document.getElementById(id)) show({ id, role: "user", text });
  if (run) isAskedAgain = true;
  else watch();
});
push.on("gap", ({ wait }) => setTimeout(fetchRows, wait * 1000));

render(JSON.parse(find("#rows").textContent));
if (running !== undefined) watch();
else explain();

/** Show the answer while it is made, and then the rows. */
async function watch() {
  find(".unsaved")?.remove();
  tell("");
  setBusy(true);
  const answer = show({ role: "assistant unsaved", text: "" });
  run = follow(`${url}/answer`, (chunk) => {
    answer.textContent += chunk.delta ?? "";
    scroll();
  });
  // Another process makes the answer again, from its first word.
  run.on("restart", () => (answer.textContent = ""));
  const end = await run.ended.catch((error) => ({ status: "failed", text: error.message }));
  run = undefined;
  if (!isAskedAgain) setBusy(false);
  // An answer that failed is no row. Its words stay here until the page is loaded again.
  if (end?.status in WHY && !isAskedAgain) tell(end.text || WHY[end.status], true);
  else await fetchRows();
  if (isAskedAgain) watch();
  isAskedAgain = false;
}

async function fetchRows() {
  const answer = await fetch(`${url}/messages`).catch(() => ({}));
  if (!answer.ok) setTimeout(fetchRows, 1000);
  else if (!run) {
    render(await answer.json());
    explain();
  }
}

function render(rows) {
  messages.replaceChildren();
  for (const row of rows) show(row);
}

function show({ id = "", role, text }) {
  const item = messages.appendChild(document.createElement("li"));
  Object.assign(item, { id, className: role, textContent: text });
  if (role === "user") question = { id, text };
  scroll();
  return item;
}

function explain() {
  const isAnswered = !messages.lastElementChild?.matches(".user");
  tell(isAnswered || run ? "" : "This question has no answer.", true);
}

function tell(text, canAskAgain = false) {
  notice.hidden = !text;
  notice.firstElementChild.textContent = text;
  notice.lastElementChild.hidden = !canAskAgain;
  scroll();
}

function setBusy(isBusy) {
  stop.hidden = !isBusy;
  form.querySelector("button").hidden = isBusy;
  messages.setAttribute("aria-busy", isBusy);
}

function scroll() {
  messages.scrollTop = messages.scrollHeight;
}

/** Ask. To ask twice with one id is the same as to ask once. */
async function ask(question) {
  const body = JSON.stringify(question), headers = { "Content-Type": "application/json" };
  const answer = await fetch(`${url}/messages`, { method: "POST", headers, body }).catch(() => ({}));
  if (answer.ok) return true;
  tell(answer.status === 409 ? await answer.text() : "The server did not answer. Please try again.");
  return false;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { text } = form.elements, id = crypto.getRandomValues(new Uint32Array(4)).join("-");
  if (await ask({ id, text: text.value })) form.reset();
});
notice.lastElementChild.addEventListener("click", () => ask(question));
stop.addEventListener("click", () => fetch(`${url}/stop`, { method: "POST" }));
