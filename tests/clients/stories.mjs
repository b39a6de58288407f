// What push.items promises, whatever happens: a page is called back with all items or none, no
// item becomes older, each change is named, and in the end each page has what the store has.
// Stories of what may happen by chance: stories.mjs FIRST COUNT [verbose]
import { play, Story } from "./story.mjs";

const CHANNELS = ["a", "b"];
const ITEMS = ["x", "y", "z"];
const TYPES = [["message"], ["message", "quote"]];

class ItemStory extends Story {
  constructor(seed, log) {
    super(seed, log);
    this.history = []; // Each change of the store, with what each channel had after it.
    this.positions = [];
    this.#keep();
  }

  /** What the store has now. */
  #keep() {
    const now = Object.fromEntries(CHANNELS.map((name) => [name, new Map()]));
    for (const { channel, item, data, gone, number, type } of this.server.rows)
      if (!gone) now[channel].set(item, { value: JSON.parse(data), number, type });
    this.history.push({ when: this.time.now, now });
    this.positions.push(this.server.position);
  }

  fail(what, user) {
    const { page, channel, types } = user;
    throw new Error(`${what}: page ${page.index}, ${channel} ${types}, at ${Math.round(this.time.now)}`);
  }

  /** Of a channel, what users of these types have to see. */
  #seen({ channel, types }, { now } = this.history.at(-1)) {
    return [...now[channel]].filter(([, { type }]) => types.includes(type))
      .map(([item, { value }]) => [item, value]);
  }

  // What may happen.

  use(page = this.random.of(this.awake())) {
    if (!page) return;
    const channel = this.random.of(CHANNELS), types = this.random.of(TYPES);
    const user = { page, channel, types, had: null, when: this.time.now };
    user.later = page.users.some((one) => one.channel == channel && one.types == types);
    this.note("use", page.index, channel, types);
    user.end = page.push.items(channel, (items, changed) => this.#hear(user, items, changed), { types });
    page.users.push(user);
  }

  subscribe() {
    const page = this.random.of(this.awake());
    if (!page) return;
    const channel = this.random.of([...CHANNELS, "c"]);
    // The line goes back there.
    const since = this.random() < 0.5 ? this.random.of(this.positions) : undefined;
    this.note("subscribe", page.index, channel, since);
    page.push.subscribe(channel, () => {}, { since });
  }

  end() {
    const page = this.random.of(this.awake());
    if (!page?.users.length) return;
    const [user] = page.users.splice(this.random.below(page.users.length), 1);
    this.note("end", page.index, user.channel);
    user.end();
    user.ended = true;
  }

  set() {
    const channel = this.random.of(CHANNELS), item = this.random.of(ITEMS);
    const type = item == "z" ? "quote" : "message"; // An item has one type.
    const data = this.random() < 0.7 ? ++this.serial : undefined;
    this.note("set", channel, item, data);
    this.server.set(channel, item, data, { type });
    this.#keep();
  }

  publish() {
    this.server.publish(this.random.of([...CHANNELS, "c"]), "an event");
    this.positions.push(this.server.position);
  }

  forget() {
    this.server.forgetUnsets(this.random.of(CHANNELS));
  }

  restart() {
    this.note("restart");
    this.server.restart(this.random() < 0.5);
    this.#keep();
  }

  leave(how) {
    const page = super.leave(how);
    if (how == "close" && page) for (const user of page.users) user.ended = true;
  }

  /** The hub is replaced by one of the version before items, or by one that has them. */
  replace() {
    this.server.old = !this.server.old;
    this.note(this.server.old ? "old" : "new");
    this.server.cut();
  }

  mend() {
    if (this.server.old) this.replace();
    super.mend();
  }

  change() {
    for (let n = 0; n < 3; n++) this.set();
  }

  may() {
    return [
      [30, () => this.set()],
      [6, () => this.publish()],
      [6, () => this.use()],
      [4, () => this.subscribe()],
      [4, () => this.end()],
      [4, () => this.pages.length < 4 && this.open()],
      [2, () => this.pages.length > 1 && this.leave(this.random.of(["crash", "close"]))],
      [2, () => this.leave("hide")],
      [3, () => this.show()],
      [2, () => this.forget()],
      [1, () => this.restart()],
      [3, () => this.cut("cut")],
      [6, () => this.cut("snap")],
      [2, () => this.cut("repeat")],
      [2, () => this.cut("reopen")],
      [2, () => this.replace()],
      [2, () => this.toggle()],
    ];
  }

  // How it is judged.

  #hear(user, items, changed) {
    this.note("heard", user.page.index, user.channel, user.types, [...items].join(" "), "changed", ...changed);
    if (user.ended) this.fail("called after its end", user);
    // All that it has was true at one time, which is not before the time of what it had.
    for (const [item, value] of items) {
      const from = this.history.findIndex(({ now }) => now[user.channel].get(item)?.value == value);
      if (from < 0) this.fail(`${item} never was ${value}`, user);
      if (user.had?.get(item) > value) this.fail(`${item} was ${user.had.get(item)} and is ${value}`, user);
    }
    const had = user.had || new Map();
    const different = [...new Set([...had.keys(), ...items.keys()])]
      .filter((item) => had.get(item) != items.get(item));
    if (different.sort().join() != [...changed].sort().join())
      this.fail(`${different} differ, and not ${[...changed]}`, user);
    for (const item of changed) this.#isNotOlder(user, item, items.get(item));
    // A page that has these items already may be in the middle of what it missed.
    if (!user.had && !user.later) {
      // Changes that were on their way to the page count too.
      const first = this.history.findLastIndex(({ when }) => when < user.when - 100);
      const then = this.history.slice(Math.max(first, 0))
        .some((one) => String(this.#seen(user, one).sort()) == String([...items].sort()));
      if (!then) this.fail(`there never were just ${[...items]}`, user);
    }
    user.had = new Map(items);
  }

  /** Each item of each page goes through the history of the store in one direction. */
  #isNotOlder(user, item, value) {
    user.at ||= new Map();
    const from = user.at.get(item) || 0;
    const index = this.history.findIndex(
      ({ now }, index) => index >= from && now[user.channel].get(item)?.value == value,
    );
    if (index < 0) this.fail(`${item} is ${value} again`, user);
    user.at.set(item, index);
  }

  judge({ users }) {
    for (const user of users) {
      if (!user.had) this.fail("never called back", user);
      const there = [...user.had].sort(), expected = this.#seen(user).sort();
      if (String(there) != String(expected)) this.fail(`it has ${there} and not ${expected}`, user);
    }
  }

  figures() {
    const { asked } = this.server;
    const held = asked.filter(({ holds }) => holds).length;
    return { connections: asked.length, "for changes only": held };
  }
}

await play(ItemStory);
