// What the types allow, and what they don't: `tsc --noEmit` reads it.
import { connect, type Disconnect, type Gap, type State } from "flask-push";
import { connect as withElement } from "flask-push/element";
import { connect as same, PushEventSource } from "flask-push/extras";
import { connect as withItems } from "flask-push/items";
import { connect as withPresence, type Member } from "flask-push/presence";
import { follow, type End } from "flask-push/follow";
import { Juggernaut } from "flask-push/juggernaut";
import { connect as withSigned } from "flask-push/signed";

interface Said {
  text: string;
}

const push = connect<{ chat: Said; count: number }>("/stream", { parse: "json", share: "lock" });
const chat = push.subscribe("chat", (data, event) => {
  const text: string = data.text;
  const channel: string = event.channel;
  console.log(text, channel);
});
const off: () => void = chat.on("edit", ({ text }) => text.length);
push.on("gap", (gap: Gap) => setTimeout(off, gap.wait * 1000));
push.on("disconnect", ({ reason }: Disconnect) => reason.trim());
push.on("state", (state: State, reason) => console.log(state, reason.retryAt));
push.subscribe("count", (count) => count.toFixed(), { since: "aaaaa-1" });
// @ts-expect-error The channel is none of those.
push.subscribe("other");
// @ts-expect-error A number has no text.
push.subscribe("count", (data) => data.text);
// @ts-expect-error A disconnect has no wait.
push.on("disconnect", ({ wait }) => wait);
// @ts-expect-error There is no such way to share.
connect("/stream", { share: "worker" });

export async function read(): Promise<Said | undefined> {
  for await (const event of chat) return event.data;
  return undefined;
}

const source: EventSource = new PushEventSource("/stream", { withCredentials: true });
source.onmessage = (event) => console.log(event.data, event.lastEventId);
source.close();
console.log(new PushEventSource("/stream", { headers: { "X-Who": "me" } }).status);

const prices = withItems<{ stocks: number }>("/stream");
const end: () => void = prices.items("stocks", (items, changed) => {
  for (const name of changed) console.log(items.get(name)?.toFixed());
});
prices.items<Said>("stocks", (items) => items.get("x")?.text, { types: ["said"], parse: "json" });
end();
// @ts-expect-error The Map is not the callback's own.
prices.items("stocks", (items) => items.clear());
// @ts-expect-error The channel is none of those.
prices.items("other", () => {});
// @ts-expect-error push.js alone has no items.
push.items("count", () => {});

const rooms = withPresence<{ lobby: Said }>("/stream");
const leave: () => void = rooms.presence<{ name: string }>("lobby", (members, { joined, left, count }) => {
  const ann: Member<{ name: string }> | undefined = members.get("ann");
  console.log(ann?.info.name, joined.map(({ user }) => user.trim()), left.length, count.toFixed());
});
leave();
rooms.items("lobby", (items) => items.get("x")?.text);
// @ts-expect-error The Map is not the callback's own.
rooms.presence("lobby", (members) => members.clear());
// @ts-expect-error The channel is none of those.
rooms.presence("other", () => {});
// @ts-expect-error items.js alone has no presence.
prices.presence("stocks", () => {});

const element = document.querySelector("push-source");
element?.addEventListener("push:gap", (event) => event.detail.channels.join());
element?.addEventListener("push:disconnect", (event) => event.detail.reason.trim());
element?.addEventListener("push:items", ({ detail }) => detail.items.get(detail.channel));
element?.addEventListener("push:presence", ({ detail }) => {
  console.log(detail.channel, detail.members.get("ann")?.info.name, detail.joined.length, detail.count);
});
console.log(element?.push?.id, withElement);

const jug = new Juggernaut({ host: "example.org", port: 8080, meta: { user: 1 } });
jug.subscribe("chat", (data) => console.log(data));
console.log(new Juggernaut.Message({ channel: "chat" }).toJSON(), jug.sessionID);
console.log(same);

const answer = follow<string>("/chats/7/follow", (token, event) => console.log(token.trim(), event.id), { parse: "text" });
const taken: () => void = answer.on("progress", ({ done, total }) => console.log(done / (total ?? 1)));
answer.on("restart", ({ attempt }) => attempt.toFixed());
answer.on("status", ({ status, text }) => console.log(status == "stopping", text.trim()));
answer.on("gap", ({ reason, wait }) => console.log(reason, wait.toFixed()));
answer.ended.then((end: End | null) => console.log(end?.status == "failed", end?.text), (error) => error.status);
taken();
answer.close();
follow("/jobs/7/follow", null, { types: ["row"], headers: { "X-Who": "me" }, method: "POST" });
// @ts-expect-error A run that has ended does not run.
answer.ended.then((end) => end?.status == "running");
// @ts-expect-error There is no such option.
follow("/jobs/7/follow", null, { since: "aaaaa-1" });
// @ts-expect-error Its end is a promise.
answer.on("end", () => {});

const signed = withSigned("/push/stream?signed=…");
const noMore: () => void = signed.on("expired", () => fetch("/address"));
signed.on("expired", async () => "/push/stream?signed=…");
signed.on("gap", ({ wait }) => setTimeout(noMore, wait));
signed.subscribe("chat");
// @ts-expect-error A number is no address.
signed.on("expired", () => 7);
// @ts-expect-error Only signed.js has it.
push.on("expired", () => "");
