// What push.js promises, whatever happens: each subscription gets exactly the events of its
// channel after its beginning, in order and once, or a gap before any later one. Stories of
// what may happen by chance: joins.mjs FIRST COUNT [verbose]
import { play, Story } from "./story.mjs";

const CHANNELS = ["a", "b", "c"];

class EventStory extends Story {
  constructor(seed, log) {
    super(seed, log);
    // An event goes from the hub to the line, and from there to the page.
    this.late = 2 * this.latency + 3;
    if (this.random() < 0.1) this.browser.blocked = this.random.of([
      { worker: "throws" }, { worker: "fails" }, { locks: true }, { locks: true, air: true },
    ]);
    this.published = [];
    this.causes = []; // Of gaps.
    this.positions = [{ id: this.server.position, when: 0, index: 0 }];
  }

  fail(what, sub) {
    throw new Error(`${what}: page ${sub.page.index}, subscription ${sub.index} to ${sub.channel}`
      + ` of ${sub.when} since ${sub.since?.id}, at ${Math.round(this.time.now)}`);
  }

  // What may happen.

  open() {
    const scope = this.browser.page(), index = this.pages.length;
    const since = this.random() < 0.3 ? this.random.of(this.positions) : null;
    const page = { index, scope, subs: [], since, errors: [], opened: false, placed: false };
    page.left = this.time.now;
    this.note("page", index, since?.id);
    page.push = scope.exported.connect("/stream", { since: since?.id, share: this.share });
    page.push.on("error", (error) => page.errors.push(String(error)));
    page.push.on("gap", (gap) => this.hearGap(page, gap));
    page.push.on("state", (state) => {
      if (state == "closed") page.placed = false;
      // From then on it can't know what the store does.
      if (page.push.state != "open") page.left ??= this.time.now;
      else page.left = null;
      if (state != "open") return;
      page.opened = page.placed = true;
      for (const sub of page.subs) sub.from ??= this.time.now;
    });
    this.pages.push(page);
    this.subscribe(page);
  }

  subscribe(page = this.random.of(this.awake())) {
    if (!page) return;
    const channel = this.random.of(CHANNELS), index = this.serial++;
    const own = this.random() < 0.25 ? this.random.of(this.positions) : null;
    const since = own || (page.opened ? null : page.since);
    const sub = { page, channel, index, since, heard: new Set(), got: [], told: 0, last: null };
    sub.when = this.time.now;
    // Before there is a connection, it begins when there is one.
    sub.from = page.placed ? sub.when : null;
    sub.knows = Math.min(since ? since.when : sub.when - this.late, page.left ?? Infinity);
    this.note("subscribe", page.index, index, channel, since?.id, page.push.state);
    sub.push = page.push.subscribe(channel, (data, event) => this.hear(sub, data, event),
      own ? { since: own.id } : {});
    page.subs.push(sub);
    // Of a position that is too old, it is told.
    if (since && since.id.slice(0, 5) != this.server.epoch)
      this.causes.push({ when: this.time.now });
  }

  unsubscribe() {
    const page = this.random.of(this.awake());
    if (!page?.subs.length) return;
    const [sub] = page.subs.splice(this.random.below(page.subs.length), 1);
    this.note("unsubscribe", page.index, sub.index);
    sub.push.unsubscribe();
    sub.ended = true;
  }

  publish(count = 1 + this.random.below(3)) {
    while (count--) {
      const channel = this.random.of(CHANNELS), store = this.random() < 0.8;
      const event = this.server.publish(channel, this.published.length, { store });
      this.published.push(event);
      this.note("publish", this.published.length - 1, event.id, store ? "" : "transient");
      if (this.random() < 0.3)
        this.positions.push({
          id: this.server.position, when: this.time.now, index: this.published.length,
        });
    }
  }

  leave(how) {
    const page = super.leave(how);
    if (page) page.left ??= this.time.now;
  }

  crashWorker() {
    const [worker] = this.browser.workers.values();
    if (!worker) return;
    this.note("crash worker");
    this.browser.crash(worker.scope);
    this.browser.workers.clear();
  }

  trim() {
    const channel = this.random.of(CHANNELS);
    this.note("trim", channel);
    this.server.trim(channel);
    this.causes.push({ channel, when: this.time.now });
  }

  restart() {
    this.note("restart");
    this.server.restart();
    this.causes.push({ when: this.time.now });
  }

  change() {
    this.publish(6);
  }

  may() {
    return [
      [30, () => this.publish()],
      [8, () => this.subscribe()],
      [4, () => this.unsubscribe()],
      [4, () => this.pages.length < 5 && this.open()],
      [2, () => this.pages.length > 1 && this.leave(this.random.of(["crash", "close", "unload"]))],
      [2, () => this.leave("hide")],
      [3, () => this.show()],
      [1, () => this.crashWorker()],
      [2, () => this.trim()],
      [1, () => this.restart()],
      [3, () => this.cut()],
      [2, () => this.toggle()],
    ];
  }

  // How it is judged.

  /** What of its channel it is to have, as far as that is certain. */
  owed(sub) {
    return this.published.filter((event, index) => event.store && event.channel == sub.channel
      && (sub.since ? index >= sub.since.index : sub.from != null && event.when > sub.from)
      && !sub.heard.has(event) && !(event.when <= sub.gapAt));
  }

  hear(sub, data, event) {
    this.note("heard", sub.page.index, sub.index, data, event.id);
    const said = this.published[data];
    if (sub.ended) this.fail(`${data} was heard after its end`, sub);
    if (sub.channel != said.channel || event.id != said.id) this.fail(`${data} is wrong`, sub);
    if (sub.heard.has(said)) this.fail(`${data} was heard twice`, sub);
    if (sub.last && this.published.indexOf(sub.last) > data) this.fail(`${data} is late`, sub);
    // A transient event has the position of what came before it, and may be on its way.
    const isOld = sub.since && said.store ? data < sub.since.index
      : said.when < Math.min(sub.when, sub.since?.when ?? Infinity) - this.late;
    if (isOld) this.fail(`${data} is from before it`, sub);
    sub.heard.add(said);
    sub.last = said;
    const missed = this.owed(sub).find((one) => this.published.indexOf(one) < data);
    if (missed) this.fail(`${JSON.parse(missed.data)} was missed when ${data} came`, sub);
  }

  hearGap(page, { channels, reason }) {
    this.note("gap", page.index, channels, reason);
    for (const sub of page.subs) {
      if (!channels.includes(sub.channel)) continue;
      sub.gapAt = this.time.now;
      sub.told++;
    }
    for (const channel of channels) {
      const subs = page.subs.filter((sub) => sub.channel == channel);
      const due = subs.some((sub) => sub.told <= 1 + this.causes.filter((cause) =>
        // A line that begins in an older epoch, for another, is past what came before.
        cause.channel == null || cause.channel == channel && cause.when >= sub.knows).length);
      if (!due) this.fail(`a gap of ${channel} without a cause`, subs[0] || { page, channel });
    }
  }

  judge({ subs }) {
    for (const sub of subs) {
      const [missed] = this.owed(sub);
      if (missed) this.fail(`${JSON.parse(missed.data)} never came`, sub);
    }
  }

  figures() {
    return { events: this.published.length, connections: this.server.asked.length };
  }
}

await play(EventStory);
