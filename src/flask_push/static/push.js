// Flask-Push, the browser's half.
// A Line is one connection to the server. All pages of a browser share one, in a
// SharedWorker, or in the page that holds a lock, and each page has its own view of it (Push).
// Whoever may have missed something says where it was, and the line goes back to there; who
// is ahead of that drops what it has had. Time is judged by the clock: timers sleep.
const HERE = import.meta.url;

// Within an epoch, greater numbers are longer, or sort later.
const before = (id = "") => id.split(".")[0]; // The dot.
const compare = (one, other) => {
  const a = before(one), b = before(other);
  return a && a.slice(0, 6) == b.slice(0, 6) ? a.length - b.length || (a > b) - (a < b) : NaN;
};
const PARSE = { json: JSON.parse, text: (data) => data };
const parsed = (data) => {
  try {
    return JSON.parse(data);
  } catch {
    return {};
  }
};

// A browser may remember for ever that an address could not be loaded.
let extras;
const load = async () =>
  extras ||= await import("./extras.js").catch(() => import(`./extras.js?${Date.now()}`));

class Line {
  _members = new Map();
  #url;
  #options;
  #tell;
  #id = "";
  #connection = ""; // A name, a dot and a secret. Only the name is ever in an address.
  #channels = [];
  #types = new Set(["message", "push:open", "push:gap", "push:retry", "push:heartbeat"]);
  #status = { state: "closed", reason: {} };
  #opened;
  #source = null;
  #timer = 0;
  #heard = 0; // When something came last, and for how long nothing may.
  #patience = 31e3;
  #floor = 500; // The server's retry.
  #tries = 0;
  #mute = 0;
  #polls = false;

  constructor(...given) {
    [this.#url, this.#options, this.#tell] = given;
  }

  /** What a member says: what it wants, and where it was, or that it is awake, or goes. */
  _handle(who, { want, since, connection, wake, bye }) {
    if (wake) this.#wake(wake == "online");
    else {
      if (bye) this._members.delete(who);
      else this._members.set(who, want);
      this.#want(since, connection);
      if (this.#opened) this.#tell({ opened: this.#opened });
    }
    this.#tell(this.#status);
  }

  _drop() {
    clearTimeout(this.#timer); // One that is set again and again, too.
    this.#source?.close?.();
    this.#source = null;
  }

  #want(since, connection) {
    const all = [...this._members.values()], had = this.#channels;
    this.#channels = [...new Set(all.flatMap(({ channels }) => channels))];
    for (const { types } of all) types.forEach((type) => this.#types.add(type));
    this.#connection ||= connection || "";
    let more = this.#channels.some((name) => !had.includes(name));
    if (since && !(compare(since, this.#id) >= 0)) {
      this.#tell({ back: since });
      this.#id = since;
      more = true;
    }
    if (!this.#channels.length) this.#close();
    else if (more) this.#open();
    else this.#listen();
  }

  #close(reason = {}) {
    this._drop();
    this.#say("closed", reason);
  }

  /** Look whether the connection can still be alive. */
  #wake(now) {
    const { state, reason } = this.#status;
    const silent = Date.now() - this.#heard;
    if (silent < 0) this.#heard = Date.now(); // The clock was set back.
    if (state == "waiting") {
      if (now || Date.now() >= reason.retryAt) this.#open();
    } else if (state == "connecting" && silent > this.#options.silence) {
      // Somebody holds back what comes, until it ends.
      if (++this.#mute % 2 == 0) this.#polls = !this.#polls;
      this.#again({ message: "nothing came" });
    } else if (state == "open" && silent > this.#patience) this.#open();
  }

  #say(state, reason = {}) {
    if (this.#polls) reason.polling = true;
    this.#status = { state, reason };
    this.#tell(this.#status);
  }

  #open() {
    this._drop();
    const url = new URL(this.#url);
    const ask = (name, value) => value && url.searchParams.append(name, value);
    for (const name of this.#channels) ask("channel", name);
    ask("visible", 1);
    ask("poll", +this.#polls);
    ask("last_event_id", before(this.#id));
    ask("connection", before(this.#connection));
    this.#heard = Date.now();
    if (!this.#polls || this.#status.state != "open") this.#say("connecting");
    this.#timer = setInterval(() => this.#wake(), 5e3);
    if (this.#options.transport == "fetch") this.#load(url);
    else this.#begin(EventSource, url);
  }

  #load(url) {
    // Stands in for it until it is there.
    const target = this.#source = new EventTarget();
    load().then(
      ({ PushEventSource }) => target == this.#source && this.#begin(PushEventSource, url),
      () => this.#ended({ target }),
    );
  }

  #begin(Source, url) {
    this.#source = new Source(url, this.#options);
    this.#source.onerror = this.#ended;
    this.#listen();
  }

  #listen() {
    for (const type of this.#types) this.#source?.addEventListener(type, this.#hear);
  }

  #hear = ({ target, type, data, lastEventId: id }) => {
    if (target != this.#source) return;
    this.#heard = Date.now();
    if (type == "push:retry") this.#floor = parsed(data).milliseconds || this.#floor;
    else if (type == "push:heartbeat") this.#patience = 2e3 * (parsed(data).seconds || 15) + 1e3;
    else {
      this.#id = id || this.#id;
      if (type == "push:open") {
        this.#tries = this.#mute = 0;
        const { connection, channels } = parsed(data);
        if (connection?.includes(".")) this.#connection = connection;
        const denied = this.#channels.filter((name) => channels && !channels.includes(name));
        this.#opened = { connection: this.#connection, at: this.#id, denied };
        this.#tell({ opened: this.#opened });
        this.#say("open");
      } else if (type == "push:gap") this.#tell({ gap: parsed(data), id });
      else this.#tell({ type, data, id });
    }
  };

  #ended = async ({ target }) => {
    if (target != this.#source) return;
    let { status, message } = target;
    const refused = target.readyState == 2;
    if (refused && !status) {
      const credentials = this.#options.withCredentials ? "include" : "same-origin";
      const how = { method: "HEAD", credentials };
      ({ status } = await fetch(target.url, how).catch(() => ({})));
      if (target != this.#source) return;
    }
    if (message || refused && [204, 401, 403, 404].includes(status))
      this.#close({ status, message });
    else this.#again({ status });
  };

  #again(reason) {
    this._drop();
    const { base, cap } = this.#options;
    const most = this.#tries++ || !this.#polls ? Math.min(cap, base * 2 ** this.#tries) : 0;
    const wait = Math.max(this.#floor, Math.random() * most);
    if (!this.#polls || this.#tries > 1)
      this.#say("waiting", { ...reason, retryAt: Date.now() + wait });
    this.#timer = setTimeout(() => this.#open(), wait);
  }
}

// In the worker.
if (globalThis.SharedWorkerGlobalScope) {
  const lines = new Map();
  self.onconnect ||= ({ ports: [port] }) => {
    let line, name;
    const leave = () => {
      if (!line._members.has(port)) return;
      line._handle(port, { bye: true });
      if (!line._members.size) lines.delete(name);
    };
    port.onmessage = ({ data }) => {
      const { key, url, options, lock, bye } = data;
      if (!key) return bye ? leave() : line._handle(port, data);
      name = key;
      line = lines.get(key) || new Line(url, options, (said) => {
        for (const one of line._members.keys()) one.postMessage(said);
      });
      lines.set(key, line);
      // It is ours when the page is gone, however it went.
      navigator.locks?.request(lock, leave);
    };
  };
}

// Has the lock for as long as the page lives, or until it is let go.
const hold = (lock, then) => {
  let release;
  const released = new Promise((done) => release = done);
  navigator.locks.request(lock, () => (then(), released));
  return release;
};

// Three ways to a line. Who can't have one throws.
const byWorker = (url, options, hear, key, now, failed) => {
  const worker = new SharedWorker(HERE, { type: "module", name: "flask-push 1" });
  const { port } = worker, lock = `${key} ${Math.random()}`;
  worker.onerror = failed;
  port.onmessage = ({ data }) => hear(data);
  let release;
  const held = new Promise((then) => navigator.locks ? release = hold(lock, then) : then());
  const post = (said) => held.then(() => port.postMessage(said));
  post({ key, url, options, lock });
  return { post, close: () => held.then(release) };
};

const byLock = (url, options, hear, key, now) => {
  let line, want;
  const release = hold(key, () => {
    if (!want) return;
    line = new Line(url, options, (said) => {
      air.postMessage({ said });
      hear(said);
    });
    air.postMessage({ asks: true });
    again();
  });
  const me = Math.random(), air = new BroadcastChannel(key);
  const post = (said) => {
    want = said.want || want;
    if (line) line._handle(me, said);
    else air.postMessage({ from: me, said });
  };
  const again = () => want && post({ want, ...now() });
  air.onmessage = ({ data: { asks, from, said } }) => {
    if (asks) again();
    else if (from) line?._handle(from, said);
    else hear(said);
  };
  const close = () => {
    want = null;
    line?._drop();
    release();
    air.close();
  };
  return { post, close };
};

const alone = (url, options, hear) => {
  const line = new Line(url, options, hear);
  return { post: (said) => line._handle("", said), close() {} };
};

/** For what is done once for all that changes in a row. */
export const soon = (then) => {
  let due = false;
  return () => {
    if (!due) queueMicrotask(() => then(due = false));
    due = true;
  };
};

export class Listeners {
  #by = new Map();

  on(name, callback) {
    this.#by.set(name, (this.#by.get(name) || new Set()).add(callback));
    return () => this.off(name, callback);
  }

  off(name, callback) {
    if (callback) this.#by.get(name)?.delete(callback);
    else this.#by.delete(name);
  }

  get _names() {
    return [...this.#by.keys()];
  }

  /** Each, whatever the others do. */
  _call(name, ...args) {
    for (const callback of [...this.#by.get(name) || []]) {
      try {
        callback(...args);
      } catch (error) {
        reportError(error);
      }
    }
  }
}

class Subscription extends Listeners {
  #push;
  #ends = new Listeners();

  constructor(push, channel, parse) {
    super();
    this.#push = push;
    Object.assign(this, { channel, parse });
  }

  on(type, callback) {
    const off = super.on(type, callback);
    this.#push._changed();
    return off;
  }

  unsubscribe() {
    this.#push._leave(this);
    this.#ends._call("end");
  }

  async *[Symbol.asyncIterator]() {
    const waiting = [];
    let wake, ended = false;
    const off = this.on("message", (_, event) => {
      if (waiting.push(event) > 1e4) off();
      wake?.();
    });
    const forget = this.#ends.on("end", () => {
      ended = true;
      wake?.();
    });
    try {
      while (waiting.length || !ended) {
        if (waiting.length > 1e4) throw new RangeError("10,000 events wait");
        if (waiting.length) yield waiting.shift();
        else await new Promise((done) => wake = done);
      }
    } finally {
      off();
      forget();
    }
  }
}

class Push extends Listeners {
  state = "closed";
  reason = {};
  id = "";
  #subscriptions = new Set();
  #link = null;
  #joined = null;
  #asked = false;
  #timer = 0;
  #last = "";
  #catching = false; // Whether what comes may have been here before.
  #same = new Set(); // What came at the last position.
  #gone = new AbortController();
  #ways;

  constructor(url, { since = "", parse = "json", share = true, key = "", ...options }) {
    super();
    if (!PARSE[parse]) throw new TypeError('parse is "json" or "text"');
    const how = { base: 1e3, cap: 3e4, silence: 1e4, ...options };
    this.parse = parse;
    this.#last = since;
    const full = new URL(url, document.baseURI).href;
    const name = `flask-push ${full} ${key} ${JSON.stringify(how)}`;
    const next = () => this.#rejoin(1);
    this.#ways = [byWorker, byLock, alone]
      .slice(share == "lock" ? 1 : share ? 0 : 2)
      .map((way) => (hear) => way(full, how, hear, name, this.#now, next));
    const { signal } = this.#gone;
    addEventListener("pagehide", this.#sleep, { signal });
    // Some are the document's, and don't bubble.
    for (const name of ["pageshow", "online", "focus", "visibilitychange", "resume"])
      addEventListener(name, this.#wake, { signal, capture: true });
  }

  subscribe(channel, callback, { parse = this.parse } = {}) {
    if (!channel) throw new TypeError("Must provide a channel");
    const subscription = new Subscription(this, channel, parse);
    this.#subscriptions.add(subscription);
    if (callback) subscription.on("message", callback);
    this._changed();
    return subscription;
  }

  close() {
    this.#gone.abort();
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
    this.#sleep();
    this.#ways = [];
    this.#hear({ state: "closed", reason: {} });
  }

  _leave(subscription) {
    this.#subscriptions.delete(subscription);
    this._changed();
  }

  _changed = soon(() => {
    if (this.#link) this.#link.post({ want: this.#wanted() });
    else if (this.#subscriptions.size) this.#join();
  });

  #wanted() {
    const all = [...this.#subscriptions];
    return { channels: all.map((s) => s.channel), types: all.flatMap((s) => s._names) };
  }

  #now = () => ({ since: this.#last, connection: this.id });

  #join() {
    const hear = this.#joined = (said) => hear == this.#joined && this.#hear(said);
    while (!this.#link && this.#ways.length) {
      try {
        this.#link = this.#ways[0](hear);
      } catch {
        this.#ways.shift();
      }
    }
    this.#link?.post({ want: this.#wanted(), ...this.#now() });
    this.#asked = false;
    this.#timer = setInterval(() => {
      // A worker ends with the page that began it, if that crashes.
      if (this.#asked) return this.#rejoin(0);
      this.#asked = true;
      this.#link.post({ wake: "asked" });
    }, 1e4);
  }

  #rejoin(skip) {
    this.#ways.splice(0, skip);
    this.#sleep();
    if (this.#subscriptions.size) this.#join();
  }

  #sleep = () => {
    clearInterval(this.#timer);
    this.#joined = null;
    this.#link?.post({ bye: true });
    this.#link?.close();
    this.#link = null;
  };

  #wake = ({ type, persisted }) => {
    if (this.#link) this.#link.post({ wake: type });
    else if (persisted) this.#rejoin(0);
  };

  #hear(said) {
    this.#asked = false;
    const { state, reason, opened, back, gap, type, data, id } = said;
    if (back) this.#catching ||= compare(back, this.#last) < 0;
    else if (opened) this.#opened(opened);
    else if (gap) this.#gap(gap, id);
    else if (type) this.#event(type, data, id);
    else if (state != this.state || reason.retryAt != this.reason.retryAt) {
      Object.assign(this, { state, reason });
      this._call("state", state, reason);
    }
  }

  #opened({ connection, at, denied }) {
    this.id = connection;
    if (at && !(compare(at, this.#last) < 0)) this.#last = at;
    for (const name of this.#wanted().channels) {
      if (denied.includes(name)) this._call("error", new Error(`the view does not grant ${name}`));
    }
  }

  #gap(gap, id) {
    if (this.#catching && compare(id, this.#last) < 0) return;
    this.#last = id || this.#last;
    const names = this.#wanted().channels;
    const channels = [...new Set(names)].filter((name) => gap.channels?.includes(name) ?? true);
    if (channels.length) this._call("gap", { ...gap, channels });
  }

  #event(type, data, id) {
    const same = compare(id, this.#last), key = JSON.stringify([id, type, data]);
    if (this.#catching && (same < 0 || (same == 0 && this.#same.has(key)))) return;
    if (same != 0) this.#same.clear();
    this.#same.add(key);
    this.#catching &&= same == 0;
    this.#last = id;
    const channel = decodeURIComponent((id.split(".")[1] || "").replace(/~/g, "%"));
    for (const subscription of [...this.#subscriptions]) {
      if (subscription.channel != channel) continue;
      let value;
      try {
        value = PARSE[subscription.parse](data);
      } catch (error) {
        this._call("error", new SyntaxError(`not JSON on ${channel}: ${error.message}`), data);
        continue;
      }
      subscription._call(type, value, { type, data: value, id, channel });
    }
  }
}

/** A connection to a view that returns a stream. */
export const connect = (url, options = {}) => new Push(url, options);
