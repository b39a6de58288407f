// A server of one run at a time, as docs/wire.md has it. Its view follows a channel.
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const base62 = (n) => n < 62 ? DIGITS[n] : base62(Math.floor(n / 62)) + DIGITS[n % 62];
const numberOf = (text) => [...text].reduce((sum, digit) => sum * 62 + DIGITS.indexOf(digit), 0);
const ENDS = ["done", "failed", "stopped", "lost"];

export class Runs {
  epoch = "aaaaa";
  number = 1e6;
  now = null; // The run: its first and last numbers, and its rows.
  status = 0; // What the view answers instead.
  up = true;
  held = false; // Whether a proxy holds streams back.
  asked = [];
  fetched = 0;
  retry = 500;
  answers = {}; // Fields of the answer to a fetch.
  #epochs = 0;
  #sources = new Set();

  get over() {
    return !this.now || ENDS.includes(this.now.status);
  }

  get open() {
    return this.#sources.size;
  }

  /** All texts of the newest attempt. */
  get whole() {
    return this.now.rows.flatMap(({ texts = [] }) => texts);
  }

  begin(run = "r1", key = "k1") {
    this.now = { run, key, attempt: 1, first: this.number, rows: [] };
    this.turn("queued");
    this.turn("running");
  }

  /** The run begins again. */
  again() {
    Object.assign(this.now, { attempt: this.now.attempt + 1, first: this.number, rows: [] });
    this.turn("running");
  }

  turn(status, text = "") {
    const { run, key, attempt } = this.now;
    this.now.status = status;
    this.#store({ data: JSON.stringify({ run, key, status, attempt, text }) });
  }

  /** Events that are stored together. */
  write(...texts) {
    this.#store({ texts, type: "message" });
  }

  say(type, text) {
    this.#store({ texts: [text], type });
  }

  #store(row) {
    row.number = this.number += 1000;
    this.now.rows.push(row);
    for (const source of [...this.#sources]) this.#send(source, row);
  }

  progress(done, total = null, text = "") {
    for (const source of this.#sources)
      source.say("push:progress", JSON.stringify({ done, total, text }));
  }

  heartbeat(seconds) {
    for (const source of this.#sources)
      source.say("push:heartbeat", JSON.stringify({ seconds }));
  }

  /** The store has lost the run. */
  lose() {
    this.epoch = "bcdefghijk"[this.#epochs++ % 10].repeat(5);
    this.now = null;
    for (const source of this.#sources) this.#gap(source, "restarted");
    this.cut();
  }

  /** The oldest events are gone. */
  trim(count) {
    this.now.rows = this.now.rows.filter((row) => row.data || count-- <= 0);
    this.now.trimmed = true;
  }

  disconnect(reason) {
    for (const source of this.#sources) source.say("push:disconnect", JSON.stringify({ reason }));
    this.cut();
  }

  #gap(source, reason) {
    const data = JSON.stringify({ channels: ["a"], reason, wait: 0 });
    source.say("push:gap", data, `${this.epoch}-${base62(this.number)}`);
  }

  #send(source, { number, data, type, texts }, skip = 0) {
    const id = (n) => `${this.epoch}-${base62(n)}.a`;
    if (data) source.say("push:run", data, id(number));
    else texts.forEach((text, n) => n < skip || source.say(
      type, text, n + 1 < texts.length ? `${id(number - 1)}.${n + 1}` : id(number),
    ));
    if (data && this.over) this.#end(source);
  }

  #end(source) {
    if (this.#sources.delete(source)) source.fail();
  }

  cut() {
    for (const source of [...this.#sources]) this.#end(source);
  }

  /** Events that have not arrived are lost. */
  snap() {
    for (const source of this.#sources) source.snap();
    this.#sources.clear();
  }

  /** No connection gets anything more, and none ends. */
  hang() {
    this.#sources.clear();
  }

  forget(source) {
    this.#sources.delete(source);
  }

  /** Where a follow begins, or nothing if the answer is 204. */
  #from(asked) {
    const [position, , skip] = asked.split("."), [epoch, digits] = position.split("-");
    const number = digits && epoch == this.epoch ? numberOf(digits) : -1;
    if (!this.now) return null;
    const { first, rows } = this.now;
    if (number >= first) return this.over && number >= rows.at(-1).number ? null : [number, +skip || 0];
    return this.over ? null : [first, 0];
  }

  /** The answer to a fetch. */
  answer(url) {
    this.fetched++;
    if (!this.up) return null;
    const status = this.status || (this.#from(this.#position(url)) ? 200 : 204);
    const type = status == 200 ? "text/event-stream; charset=utf-8" : "text/html";
    const headers = new Map([["Content-Type", type]]);
    return { status, headers: { get: (name) => headers.get(name) ?? null }, ...this.answers };
  }

  #position(url) {
    return new URL(url).searchParams.get("last_event_id") || "";
  }

  accept(source) {
    const { searchParams } = new URL(source.url);
    this.asked.push(Object.fromEntries(searchParams));
    if (!this.up) return source.fail();
    const from = this.#from(this.#position(source.url));
    if (this.status || !from) return source.refuse(this.status || 204);
    if (this.held && !searchParams.has("poll")) return;
    const [after, skip] = from;
    source.open();
    source.say("push:retry", JSON.stringify({ milliseconds: this.retry }));
    const open = JSON.stringify({ connection: "c.secret", channels: ["a"] });
    source.say("push:open", open, `${this.epoch}-${base62(after)}`);
    this.#sources.add(source);
    if (this.now.trimmed && after == this.now.first) this.#gap(source, "trimmed");
    for (const row of this.now.rows)
      if (row.number > after) this.#send(source, row, row.number == after + 1 ? skip : 0);
    if (searchParams.has("poll")) this.#end(source);
  }
}
