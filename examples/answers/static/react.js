// The same chat with useChat of the AI SDK. No bundler is needed: the page's import map names the
// scripts, and h stands for JSX.

import { Chat, useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { createElement as h, Fragment, useEffect, useRef } from "react";
import { createRoot } from "react-dom/client";

const { chat: id, url, running } = document.body.dataset;
const WHY = {
  failed: "The model failed.",
  lost: "The rest is lost: the process that made the answer has ended.",
};
const toMessage = ({ id, role, text }) => ({ id, role, parts: [{ type: "text", text }] });
const toText = (message) => message.parts.map((part) => part.text ?? "").join("");

const chat = new Chat({
  id,
  messages: JSON.parse(document.querySelector("#rows").textContent).map(toMessage),
  transport: new DefaultChatTransport({ api: "/api/chat" }),
  // The connection broke, or there was none.
  onError: (error) => error instanceof TypeError && setTimeout(resume, 1000),
});
if (running !== undefined) resume();

/** Show the answer that is being made, from its first word. If there is none, or at its end, the
    rows decide. */
async function resume() {
  await chat.resumeStream();
  if (chat.status !== "ready") return;
  const rows = await fetch(`${url}/messages`).then((answer) => answer.json()).catch(() => null);
  if (chat.status !== "ready") return;
  const last = chat.messages.at(-1);
  if (!rows) setTimeout(resume, 1000);
  // The question did not arrive. With its id, to ask it twice is the same as to ask it once.
  else if (last?.role === "user" && !rows.some(({ id }) => id === last.id)) chat.regenerate();
  else chat.messages = rows.map(toMessage);
}

function stop() {
  chat.stop();
  fetch(`/api/chat/${id}/stop`, { method: "POST" });
}

function explain(error) {
  if (!error) return "This question has no answer.";
  return error instanceof TypeError ? "reconnecting…" : (WHY[error.message] ?? error.message);
}

function Page() {
  const { messages, status, error, sendMessage, regenerate } = useChat({ chat });
  const list = useRef(null), isBusy = status === "submitted" || status === "streaming";
  useEffect(() => {
    list.current.scrollTop = list.current.scrollHeight;
  }, [messages, status]);
  const isUnanswered = !isBusy && messages.at(-1)?.role === "user";
  const submit = (event) => {
    event.preventDefault();
    sendMessage({ text: new FormData(event.target).get("text") });
    event.target.reset();
  };
  return h(Fragment, null,
    h("ol", { ref: list, role: "log", "aria-label": "Messages", "aria-busy": isBusy, tabIndex: 0 },
      messages.map((message) => h("li", { key: message.id, id: message.id, className: message.role }, toText(message)))),
    (error || isUnanswered) && h("p", { className: "notice", role: "status" },
      h("span", null, explain(error)), " ",
      h("button", { onClick: () => regenerate() }, "Ask again")),
    h("form", { onSubmit: submit },
      h("input", { name: "text", maxLength: 2000, required: true, placeholder: "Ask something", "aria-label": "Question", autoComplete: "off", autoFocus: true }),
      isBusy ? h("button", { type: "button", className: "stop", onClick: stop }, "Stop") : h("button", null, "Ask")));
}

createRoot(document.querySelector("main")).render(h(Page));
