// What a page in TypeScript may write, and what it may not.
import { connect, type Gap, type PushEvent, type Reason, type State } from "flask-push";

interface Said {
  name: string;
  text: string;
}

const push = connect<{ chat: Said; ticks: number }>(new URL("https://example.org/stream"), {
  since: "aaaaa-1",
  parse: "json",
  share: "lock",
  key: "42",
  withCredentials: true,
  transport: "fetch",
  headers: { Authorization: "Bearer x" },
  method: "POST",
  body: "{}",
  base: 500,
  cap: 10_000,
  silence: 5_000,
});

const chat = push.subscribe("chat", (said, event) => {
  const text: string = said.text + event.data.name;
  const whole: PushEvent<Said> = event;
  console.log(text, whole.channel, whole.type, whole.id);
});
const off: () => void = chat.on("edited", (said) => console.log(said.text));
off();
push.subscribe("ticks", (tick) => console.log(tick + 1), { parse: "text" });
push.on("gap", ({ channels, reason, wait }: Gap) => console.log(channels, reason, wait));
push.on("state", (state: State, { status, retryAt, polling, message }: Reason) =>
  console.log(state === "open", status, retryAt, polling, message),
);
push.on("error", (error, data) => console.log(error.message, data));
console.log(push.state, push.reason.status, push.id.length);

export async function read(): Promise<void> {
  for await (const event of chat) console.log(event.data.text);
  chat.unsubscribe();
  push.close();
}

// Without types of one's own, anything goes.
connect("/stream").subscribe("any", (data) => console.log(data.whatever));

// @ts-expect-error No such channel.
push.subscribe("chats");
// @ts-expect-error It has no number.
push.subscribe("chat", (said) => said.number);
// @ts-expect-error No such state.
push.state === "opened";
// @ts-expect-error The page does not say what it is.
push.id = "mine";
// @ts-expect-error There is no guessing.
connect("/stream", { parse: "guess" });
// @ts-expect-error No such option.
connect("/stream", { retries: 3 });
// @ts-expect-error Nothing of that name happens.
push.on("open", () => {});
