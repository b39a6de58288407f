// What the cases share: a server and a browser at the start, and a script that runs one case.
import { Browser, chance, Time } from "./fakes.mjs";
import { Server } from "./server.mjs";

export const WAYS = [true, "lock", false];

export const begin = ({ seed = 7, latency = 2 } = {}) => {
  const time = new Time(), random = chance(seed), server = new Server(time, random);
  const browser = new Browser(time, random, server, latency);
  const open = (given = {}, scope = browser.page()) => {
    const heard = [], states = [], errors = [], gaps = [], reasons = [];
    const push = scope.exported.connect("/stream", given);
    const page = { scope, push, heard, states, errors, gaps, reasons };
    push.on("state", (state, { status }) => states.push([state, status]));
    push.on("disconnect", ({ reason }) => reasons.push(reason));
    if (!given.silent) {
      push.on("error", (error) => errors.push(error.message));
      push.on("gap", (gap) => gaps.push(gap));
    }
    page.subscribe = (channel, given) => push.subscribe(channel, (data) => heard.push(data), given);
    page.items = (channel, given) => {
      const calls = [];
      const end = push.items(channel, (items, changed) => {
        calls.push([Object.fromEntries(items), [...changed].sort()]);
        Object.defineProperty(calls, "items", { value: items, configurable: true });
      }, given);
      return Object.defineProperty(calls, "end", { value: end });
    };
    page.presence = (channel) => {
      const calls = [];
      const end = push.presence(channel, (members, { joined, left, count }) => {
        const names = [joined, left].map((some) => some.map(({ user }) => user).sort());
        const infos = Object.fromEntries([...members].map(([user, { info }]) => [user, info]));
        calls.push([infos, ...names, count]);
        Object.defineProperty(calls, "members", { value: members, configurable: true });
      });
      return Object.defineProperty(calls, "end", { value: end });
    };
    return page;
  };
  const publish = (channel, ...all) => all.map((data) => server.publish(channel, data));
  return { time, server, browser, open, publish, pass: (wait = 100) => time.pass(wait) };
};

/** Run the case that is named, or list them. */
export const run = async (cases) => {
  const [name] = process.argv.slice(2);
  if (!name) return console.log(Object.keys(cases).join("\n"));
  await cases[name]();
  process.exit(0);
};
