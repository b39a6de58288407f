// push.js in Node, on a real server: listen.mjs KIND URL CHANNEL... writes what it gets, and
// ends with the event "end".
import { readFileSync } from "node:fs";
import { classic } from "./classic.mjs";

const STATIC = new URL("../../src/flask_push/static/", import.meta.url);
const say = (...said) => console.log(JSON.stringify(said));
const [kind, url, ...channels] = process.argv.slice(2);

const without = (...names) => {
  // Some of Node's own are made of them when they are first looked at.
  globalThis.WebSocket;
  for (const name of names) Object.defineProperty(globalThis, name, { value: undefined });
};

const kinds = {
  async "as it is"() {
    return import(new URL("push.js", STATIC));
  },

  async "as it was"() {
    without("navigator");
    return import(new URL("push.js", STATIC));
  },

  async "with an EventSource"() {
    globalThis.EventSource = (await import("eventsource")).EventSource;
    return import(new URL("push.js", STATIC));
  },

  // As in React Native, with a package for EventSource.
  async "with nothing else"() {
    globalThis.EventSource = (await import("eventsource")).EventSource;
    without("navigator", "BroadcastChannel", "EventTarget", "performance");
    const text = readFileSync(new URL("push.js", STATIC), "utf8");
    return new Function(`${classic(text)}; return FlaskPush;`)();
  },
};

const { connect } = await kinds[kind]();
const push = connect(url, { base: 100, headers: { "X-Who": "node" } });
push.on("state", (state, { status }) => say("state", state, status));
push.on("error", (error) => say("error", String(error)));
push.on("gap", ({ reason }) => say("gap", reason));
for (const channel of channels) {
  push.subscribe(channel, (data) => {
    say("data", channel, data);
    if (data == "end") push.close();
  });
}
