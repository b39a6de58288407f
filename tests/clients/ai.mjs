// Clients of AI protocols, which do what a test says: node ai.mjs URL
// A line of the input is {n, act, ...}. The answer is many lines: {n, ...} for each thing that
// the library delivers, and at last one with `end`.

import { HttpAgent } from "@ag-ui/client";
import { AbstractChat, DefaultChatTransport } from "ai";
import OpenAI from "openai";
import { createInterface } from "node:readline";

const [url] = process.argv.slice(2);
const transport = new DefaultChatTransport({ api: `${url}/api/chat` });
const openai = new OpenAI({ apiKey: "none", baseURL: `${url}/v1`, maxRetries: 0 });
const chats = new Map();

/** The AI SDK's chat without React. */
class Chat extends AbstractChat {
  constructor(id) {
    super({
      id,
      transport,
      onError() {},
      state: {
        status: "ready",
        error: undefined,
        messages: [],
        queuedMessages: [],
        pushMessage(message) {
          this.messages = [...this.messages, message];
        },
        popMessage() {
          this.messages = this.messages.slice(0, -1);
        },
        replaceMessage(index, message) {
          this.messages = this.messages.with(index, message);
        },
        snapshot: (value) => structuredClone(value),
      },
    });
  }

  get shown() {
    const texts = (message) => message.parts.map((part) => part.text ?? "").join("");
    const answers = this.messages.filter(({ role }) => role === "assistant").map(texts);
    return { status: this.status, answers };
  }
}

async function read(stream, deliver) {
  if (!stream) return "nothing";
  for await (const chunk of stream) deliver({ chunk });
  return "end";
}

const acts = {
  async send({ chat, question, text }, deliver) {
    const message = { id: question, role: "user", parts: [{ type: "text", text }] };
    const about = { chatId: chat, messages: [message], trigger: "submit-message" };
    return read(await transport.sendMessages(about), deliver);
  },
  async resume({ chat }, deliver) {
    return read(await transport.reconnectToStream({ chatId: chat }), deliver);
  },
  async talk({ chat, text }, deliver) {
    chats.set(chat, new Chat(chat));
    return show(chats.get(chat), chats.get(chat).sendMessage({ text }), deliver);
  },
  async talkOn({ chat }, deliver) {
    return show(chats.get(chat), chats.get(chat).resumeStream(), deliver);
  },
  async agent({ thread, run, text }, deliver) {
    const agent = new HttpAgent({ url: `${url}/agent`, threadId: thread });
    agent.addMessage({ id: `${run}-question`, role: "user", content: text });
    const result = await agent.runAgent(
      { runId: run },
      {
        onRunStartedEvent: () => deliver({ event: "started" }),
        onTextMessageContentEvent: ({ event }) => deliver({ text: event.delta }),
        onRunFinishedEvent: () => deliver({ event: "finished" }),
        onRunErrorEvent: ({ event }) => deliver({ event: `error: ${event.code}` }),
      },
    );
    deliver({ answers: result.newMessages.map(({ content }) => content) });
    return "end";
  },
  async complete({ text }, deliver) {
    const about = { model: "m", messages: [{ role: "user", content: text }], stream: true };
    for await (const chunk of await openai.chat.completions.create(about)) {
      deliver({ text: chunk.choices[0].delta.content ?? "" });
    }
    return "end";
  },
};

async function show(chat, going, deliver) {
  const timer = setInterval(() => deliver(chat.shown), 10);
  await going.finally(() => clearInterval(timer));
  deliver(chat.shown);
  return "end";
}

// AG-UI's client cancels the reader of a stream that was cut, and does not await it.
process.on("unhandledRejection", () => {});
for (const name of ["error", "warn"]) console[name] = () => {};

for await (const line of createInterface({ input: process.stdin })) {
  const { n, act, ...about } = JSON.parse(line);
  const deliver = (what) => process.stdout.write(`${JSON.stringify({ n, ...what })}\n`);
  const failed = (error) => `${error.constructor.name}: ${error.message}`;
  acts[act](about, deliver).catch(failed).then((end) => deliver({ end }));
}
