// What push.presence promises, whatever happens: the first call has all members, each later one
// says who joined and who left, nobody's info becomes older, and in the end each page has the
// members that the store has. Stories by chance: presence_stories.mjs FIRST COUNT [verbose]
import { play, Story } from "./story.mjs";

const CHANNELS = ["a", "b"];
const USERS = ["x", "y", "-"];

class PresenceStory extends Story {
  constructor(seed, log) {
    super(seed, log);
    this.server.watch = CHANNELS;
    this.history = []; // Each change of the store, with what each channel had after it.
    this.#keep();
  }

  /** Who is there now, and how many users are counted. */
  #keep() {
    const now = Object.fromEntries(CHANNELS.map((name) => [name, { members: new Map(), counted: 0 }]));
    for (const { kind, channel, item, data, gone } of this.server.rows) {
      if (gone || kind == "item") continue;
      if (kind == "count") now[channel].counted = JSON.parse(data).count;
      else now[channel].members.set(item, JSON.parse(data).info);
    }
    this.history.push({ when: this.time.now, now });
  }

  fail(what, { page, channel }) {
    throw new Error(`${what}: page ${page.index}, ${channel}, at ${Math.round(this.time.now)}`);
  }

  // What may happen.

  use(page = this.random.of(this.awake())) {
    if (!page) return;
    const channel = this.random.of(CHANNELS);
    const user = { page, channel, had: null, when: this.time.now };
    user.later = page.users.some((one) => one.channel == channel);
    this.note("use", page.index, channel);
    user.end = page.push.presence(channel, (...given) => this.#hear(user, ...given));
    page.users.push(user);
  }

  /** Another way to read a channel that may be watched. */
  read() {
    const page = this.random.of(this.awake());
    if (!page) return;
    if (this.random() < 0.5) page.push.items(this.random.of(CHANNELS), () => {});
    else page.push.subscribe(this.random.of([...CHANNELS, "c"]), () => {});
  }

  end() {
    const page = this.random.of(this.awake());
    if (!page?.users.length) return;
    const [user] = page.users.splice(this.random.below(page.users.length), 1);
    this.note("end", page.index, user.channel);
    user.end();
    user.ended = true;
  }

  change() {
    const channel = this.random.of(CHANNELS), user = this.random.of(USERS), how = this.random();
    this.note("change", channel, user, how);
    if (how < 0.5) this.server.join(channel, user, ++this.serial);
    else if (how < 0.8) this.server.leave(channel, user);
    else if (how < 0.9) this.server.count(channel, ++this.serial);
    else this.server.set(channel, user, ++this.serial);
    this.#keep();
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

  may() {
    return [
      [30, () => this.change()],
      [6, () => this.use()],
      [4, () => this.read()],
      [4, () => this.end()],
      [4, () => this.server.publish(this.random.of([...CHANNELS, "c"]), "an event")],
      [4, () => this.pages.length < 4 && this.open()],
      [2, () => this.pages.length > 1 && this.leave(this.random.of(["crash", "close"]))],
      [2, () => this.leave("hide")],
      [3, () => this.show()],
      [2, () => this.server.forgetUnsets(this.random.of(CHANNELS))],
      [1, () => this.restart()],
      [3, () => this.cut("cut")],
      [6, () => this.cut("snap")],
      [2, () => this.cut("repeat")],
      [2, () => this.cut("reopen")],
      [2, () => this.toggle()],
    ];
  }

  // How it is judged.

  #hear(user, members, { joined, left, count }) {
    const infos = new Map([...members].map(([name, { info }]) => [name, info]));
    this.note("heard", user.page.index, user.channel, [...infos].join(" "), count);
    if (user.ended) this.fail("called after its end", user);
    const had = user.had || infos;
    const came = [...infos.keys()].filter((name) => !had.has(name));
    const went = [...had.keys()].filter((name) => !infos.has(name));
    const names = [joined, left].map((some) => String(some.map((one) => one.user).sort()));
    if (String(names) != String([came.sort(), went.sort()]))
      this.fail(`${names.join(" and ")} should be ${came} and ${went}`, user);
    for (const [name, info] of infos) {
      if (!this.history.some(({ now }) => now[user.channel].members.get(name) == info))
        this.fail(`${name} never was ${info}`, user);
      if (had.get(name) > info) this.fail(`${name} was ${had.get(name)} and is ${info}`, user);
    }
    if (!user.had && !user.later) this.#isTrue(user, infos, count);
    user.had = infos;
    user.count = count;
  }

  /** Its first call has all who were there at one time. What was on its way counts too. */
  #isTrue(user, infos, count) {
    const first = this.history.findLastIndex(({ when }) => when < user.when - 100);
    const seen = (members, counted) => `${[...members].sort()} ${members.size + counted}`;
    const found = seen(infos, count - infos.size);
    const then = this.history.slice(Math.max(first, 0)).map(({ now }) => now[user.channel]);
    if (!then.some(({ members, counted }) => seen(members, counted) == found))
      this.fail(`there never were just ${[...infos]}, ${count}`, user);
  }

  judge({ users }) {
    for (const user of users) {
      if (!user.had) this.fail("never called back", user);
      const { members, counted } = this.history.at(-1).now[user.channel];
      const [there, expected] = [user.had, members].map((some) => String([...some].sort()));
      if (there != expected) this.fail(`it has ${there} and not ${expected}`, user);
      if (user.count != members.size + counted) this.fail(`it counts ${user.count}`, user);
    }
  }

  figures() {
    const { asked } = this.server;
    const held = asked.filter(({ holds }) => holds).length;
    return { connections: asked.length, "for changes only": held };
  }
}

await play(PresenceStory);
