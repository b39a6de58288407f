// A store with its hub, as docs/wire.md has them. Its clock is that of fakes.mjs.
export const BEGAN = 1.764e12; // Milliseconds.
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const base62 = (n) => n < 62 ? DIGITS[n] : base62(Math.floor(n / 62)) + DIGITS[n % 62];
const numberOf = (text) => [...text].reduce((sum, digit) => sum * 62 + DIGITS.indexOf(digit), 0);
const escape = (name) => [...new TextEncoder().encode(name)].map((byte) =>
  /\w|-/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : `~${byte.toString(16)}`,
).join("");

/** What a stream may read, as its first events have it. */
const granted = ({ channels, watch }) => watch.length ? { channels, watch } : { channels };

/** The store, and the hub of it. */
export class Server {
  epoch = "aaaaa";
  events = []; // All that were stored, of each epoch.
  forgotten = {}; // By channel, the number up to which nothing is kept.
  up = true;
  old = false; // A hub of a version that had no items.
  asked = [];
  denied = [];
  ahead = 0; // The hub's clock, of the store's.
  rows = []; // The newest of each item, and of each member of a channel. Some are gone.
  watch = []; // The channels that the view lets pages watch.
  horizons = {}; // By channel, the number up to which unsets may be forgotten.
  #last = 0;
  #epochs = 0;
  #sources = new Set();

  constructor(time, random) {
    Object.assign(this, { time, random });
  }

  get position() {
    return this.#at(this.#last);
  }

  #at(number) {
    return `${this.epoch}-${base62(number)}`;
  }

  get #clock() {
    return (BEGAN + this.time.now) * 1e3;
  }

  publish(channel, data, { store = true, type = "message" } = {}) {
    if (store) this.#last = Math.max(this.#last + 1, Math.floor(this.#clock));
    const { epoch } = this, number = this.#last, id = `${this.#at(number)}.${channel}`;
    const event = { epoch, number, channel, data: JSON.stringify(data), type, id, store };
    if (store) this.events.push(event);
    for (const source of this.#sources)
      if (source.channels.includes(channel)) source.say(type, event.data, id);
    return { ...event, when: this.time.now };
  }

  /** Set an item, or unset it if there is no data. */
  set(channel, item, data, { type = "message", text = JSON.stringify(data) } = {}) {
    const gone = { type: "push:unset", data: JSON.stringify({ channel, item }), gone: true };
    this.#put({ kind: "item", channel, item, ...text === undefined ? gone : { type, data: text } });
  }

  /** A user is present on a channel, or has another info. */
  join(channel, user, info) {
    const data = JSON.stringify({ channel, user, info });
    this.#put({ kind: "member", channel, item: user, type: "push:joined", data });
  }

  leave(channel, user) {
    const data = JSON.stringify({ channel, user });
    this.#put({ kind: "member", channel, item: user, type: "push:left", data, gone: true });
  }

  /** So many users are present on a channel, and are not listed. */
  count(channel, count) {
    const data = JSON.stringify({ channel, count });
    this.#put({ kind: "count", channel, item: "-", type: "push:count", data });
  }

  #put(row) {
    const { kind, channel, item } = row;
    const there = (one) => one.kind == kind && one.channel == channel && one.item == item;
    if (row.gone && !this.rows.some((one) => there(one) && !one.gone)) return;
    row.number = this.#last = Math.max(this.#last + 1, Math.floor(this.#clock));
    this.rows = [...this.rows.filter((one) => !there(one)), row];
    for (const source of this.#sources) if (this.#has(source, row)) this.#sayRow(source, row);
  }

  #has({ old, channels, watch }, { kind, channel }) {
    return !old && (kind == "item" ? channels : watch).includes(channel);
  }

  #sayRow(source, { type, data, number, channel, item }, since) {
    const tag = `${channel}.${escape(item)}`;
    source.say(type, data, since ? `${since}.${tag}.${base62(number)}` : `${this.#at(number)}.${tag}`);
  }

  /** Forget which items were unset, and who has left. */
  forgetUnsets(channel) {
    for (const row of this.rows) if (row.gone && row.channel == channel)
      this.horizons[channel] = Math.max(this.horizons[channel] || 0, row.number);
    this.rows = this.rows.filter((row) => !row.gone || row.channel != channel);
  }

  holds({ channels, watch }) {
    return [this.epoch, [...channels].sort(), ...watch.length ? [[...watch].sort()] : []].join(" ");
  }

  /** All items, again, on each connection. */
  repeat() {
    for (const source of this.#sources) if (!source.old) this.#sayAll(source, this.#last)();
  }

  /** push:open, again, on each connection. */
  reopen() {
    for (const source of this.#sources) {
      const { connection } = source;
      source.say("push:open", JSON.stringify({ connection, ...granted(source) }), this.position);
    }
  }

  #sayAll(source, from) {
    const data = granted(source);
    source.say("push:items", JSON.stringify(data));
    for (const row of this.rows)
      if (!row.gone && row.number <= from && this.#has(source, row))
        this.#sayRow(source, row, this.#at(from));
    return () =>
      source.say("push:whole", JSON.stringify({ ...data, holds: this.holds(source) }), this.position);
  }

  /** Forget all that is kept of a channel. */
  trim(channel) {
    const kept = this.events.filter((e) => e.epoch == this.epoch && e.channel == channel);
    if (kept.length) this.forgotten[channel] = kept.at(-1).number;
  }

  /** Another life of the store. All are told. */
  restart(keepsItems = false) {
    this.epoch = "bcdefghijk"[this.#epochs++ % 10].repeat(5);
    this.forgotten = {};
    this.horizons = {};
    this.#last = Math.max(this.#last + 1, Math.floor(this.#clock));
    if (!keepsItems) this.rows = [];
    for (const source of this.#sources) {
      this.#tellGap(source, source.channels, "restarted");
      if (source.items) this.#sayAll(source, this.#last)();
    }
  }

  #tellGap(source, channels, reason, number = this.#last) {
    const data = JSON.stringify({ channels, reason, wait: 0 });
    source.say("push:gap", data, this.#at(number));
  }

  /** Each connection ends. */
  cut() {
    for (const source of this.#sources) this.end(source);
  }

  /** Each connection ends as `push.disconnect` ends it. */
  disconnect(reason) {
    for (const source of this.#sources) {
      source.say("push:disconnect", JSON.stringify({ reason }));
      source.say("push:retry", '{"milliseconds":700}');
    }
    this.cut();
  }

  /** Each connection is cut off, perhaps in the middle of what is sent. */
  snap() {
    for (const source of this.#sources) {
      this.#sources.delete(source);
      source.snap();
    }
  }

  end(source) {
    if (this.#sources.delete(source)) source.fail();
  }

  forget(source) {
    this.#sources.delete(source);
  }

  /** Say nothing more on any connection, and not that it is over. */
  hang() {
    this.#sources.clear();
  }

  /** What nobody would publish. */
  say(channel, data) {
    const id = `${this.#at(++this.#last)}.${channel}`;
    for (const source of this.#sources) source.say("message", data, id);
  }

  accept(source) {
    if (!this.up) return source.fail();
    const query = new URL(source.url).searchParams, channels = source.asked;
    const since = query.get("last_event_id") || "";
    const holds = query.get("holds");
    this.asked.push({ since, channels, holds, url: source.url, posted: source.posted });
    if (this.status) return source.refuse(this.status);
    source.open();
    source.channels = channels.filter((name) => !this.denied.includes(name));
    source.watch = channels.filter((name) => !this.old && this.watch.includes(name));
    source.say("push:retry", '{"milliseconds":500}');
    source.old = this.old;
    source.items = !this.old && (query.get("items")
      || this.rows.some((row) => this.#has(source, row)));
    this.#begin(source, since, query.get("connection"), query.get("holds"));
    if (query.get("poll")) source.fail();
    else this.#sources.add(source);
  }

  #begin(source, since, called, holds) {
    const { channels, watch } = source;
    const name = called || Math.floor(this.random() * 1e9).toString(36).padStart(16, "n");
    const open = { connection: called ? name : `${name}.secret`, ...granted(source) };
    source.connection = open.connection;
    const [epoch, digits] = since.split("-");
    if (since && epoch != this.epoch) {
      source.say("push:open", JSON.stringify(open), "");
      this.#tellGap(source, channels, "restarted");
      if (source.items) this.#sayAll(source, this.#last)();
      return;
    }
    const from = since ? numberOf(digits) : this.#last;
    const missed = this.events.filter((one) => one.epoch == this.epoch && one.number > from
      && channels.includes(one.channel) && one.number > (this.forgotten[one.channel] || 0));
    const gaps = channels.filter((channel) => (this.forgotten[channel] || 0) > from);
    if (since) {
      const newest = Math.max(from, ...missed.slice(-1).map((one) => one.number),
        ...gaps.map((channel) => this.forgotten[channel]));
      open.end = this.#at(newest);
      open.age = Math.max(0, Math.floor((this.#clock - newest) / 1e3) + this.ahead);
    }
    const horizon = Math.max(...[...channels, ...watch].map((name) => this.horizons[name] || 0));
    const known = holds == this.holds(source) && since && from >= horizon;
    if (source.items) open.items = known ? "changes" : "all";
    source.say("push:open", JSON.stringify(open), this.#at(from));
    const whole = open.items == "all" && this.#sayAll(source, from);
    const rows = this.rows.filter((row) => this.#has(source, row) && row.number > from);
    const pieces = [
      ...rows.map((row) => [row.number, () => this.#sayRow(source, row)]),
      ...missed.map((one) => [one.number, () => source.say(one.type, one.data, one.id)]),
      ...gaps.map((channel) => [this.forgotten[channel], () =>
        this.#tellGap(source, [channel], "trimmed", this.forgotten[channel])]),
    ];
    for (const [, say] of pieces.sort((a, b) => a[0] - b[0])) say();
    if (whole) whole();
  }
}
