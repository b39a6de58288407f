// Flask-Push, the browser's half.
// A Line is one connection to the server. All pages of a browser share one (Shared), in a
// SharedWorker, or in the page that holds a lock, and each page has its own view of it (Push).
// Whoever may have missed something says where it was, and the line goes back to there; who
// is ahead of that drops what it has had. Time is judged by the clock: timers sleep.
const HERE = import.meta.url;
const OWN = ["push:open", "push:gap", "push:retry", "push:heartbeat"];
const FINAL = [204, 401, 403, 404];

// Within an epoch, greater numbers are longer, or sort later.
const place = (id) => /^(\w{5})-(\w+)/.exec(id || "") || ["", "", ""];
const compare = (one, other) => {
  const [, epoch, a] = place(one), [, theirs, b] = place(other);
  return !epoch || epoch != theirs ? NaN : a.length - b.length || (a > b) - (a < b);
};
const parsed = (data) => {
  try {
    return JSON.parse(data);
  } catch {
    return {};
  }
};

class Line {
  id = "";
  connection = ""; // A name, a dot and a secret. Only the name is ever in an address.
  channels = [];
  types = new Set(["message", ...OWN]);
  status = { state: "closed", reason: {} };
  #source = null;
  #timer = 0;
  #heard = 0; // When something came last, and for how long nothing may.
  #patience = 31e3;
  #floor = 500; // The server's retry.
  #tries = 0;
  #mute = 0;
  #polls = false;

  constructor(url, options, tell) {
    Object.assign(this, { url, options, tell });
  }

  want(channels, types, since, connection) {
    this.connection ||= connection || "";
    let more = channels.some((name) => !this.channels.includes(name));
    if (since && !(compare(since, this.id) >= 0)) {
      this.tell({ back: since });
      this.id = since;
      more = true;
    }
    for (const type of types) this.types.add(type);
    this.channels = channels;
    if (!channels.length) this.close();
    else if (more) this.#open();
    else this.#listen();
  }

  close(reason = {}) {
    this.drop();
    this.#say("closed", reason);
  }

  /** Look whether the connection can still be alive. */
  wake(now) {
    const { state, reason } = this.status;
    const silent = Date.now() - this.#heard;
    if (silent < 0) this.#heard = Date.now(); // The clock was set back.
    if (state == "waiting") {
      if (now || Date.now() >= reason.retryAt) this.#open();
    } else if (state == "connecting" && silent > this.options.silence) {
      // Somebody holds back what comes, until it ends.
      if (++this.#mute % 2 == 0) this.#polls = !this.#polls;
      this.#again({ message: "nothing came" });
    } else if (state == "open" && silent > this.#patience) this.#open();
  }

  #say(state, reason = {}) {
    if (this.#polls) reason = { ...reason, polling: true };
    this.status = { state, reason };
    this.tell(this.status);
  }

  drop() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #open() {
    this.drop();
    const { options } = this, url = new URL(this.url), query = url.searchParams;
    for (const name of this.channels) query.append("channel", name);
    query.set("visible", "1");
    if (this.#polls) query.set("poll", "1");
    if (this.id) query.set("last_event_id", this.id.split(".")[0]);
    if (this.connection) query.set("connection", this.connection.split(".")[0]);
    this.#heard = Date.now();
    if (!this.#polls || this.status.state != "open") this.#say("connecting");
    this.#source = options.transport == "fetch"
      ? new Fetched(url, options, this.#hear, this.#ended)
      : new EventSource(url, options);
    this.#source.onerror = ({ target }) => this.#ended(target, target.readyState == 2, url);
    this.#listen();
    this.#watch();
  }

  #listen() {
    for (const type of this.types) this.#source?.addEventListener(type, this.#hear);
  }

  #watch() {
    this.#timer = setTimeout(() => {
      this.#watch();
      this.wake();
    }, 5e3);
  }

  #hear = ({ target, type, data, lastEventId: id }) => {
    if (target != this.#source) return;
    this.#heard = Date.now();
    if (type == "push:retry") this.#floor = parsed(data).milliseconds || this.#floor;
    else if (type == "push:heartbeat") this.#patience = 2e3 * (parsed(data).seconds || 15) + 1e3;
    else {
      this.id = id || this.id;
      if (type == "push:open") {
        this.#tries = this.#mute = 0;
        const { connection, channels } = parsed(data);
        if (connection?.includes(".")) this.connection = connection;
        this.opened = { connection: this.connection, channels, at: this.id, asked: this.channels };
        this.tell({ opened: this.opened });
        this.#say("open");
      } else if (type == "push:gap") this.tell({ gap: parsed(data), id });
      else this.tell({ type, data, id });
    }
  };

  #ended = async (source, refused, url) => {
    if (source != this.#source) return;
    let { status } = source;
    source.close();
    if (refused && !status) {
      const { withCredentials } = this.options;
      const credentials = withCredentials ? "include" : "same-origin";
      const asked = await fetch(url, { method: "HEAD", credentials }).catch(() => ({}));
      if (source != this.#source) return;
      status = asked.status;
    }
    if (refused && FINAL.includes(status)) this.close({ status });
    else this.#again({ status });
  };

  #again(reason) {
    this.drop();
    const { base, cap } = this.options;
    const most = this.#tries++ || !this.#polls ? Math.min(cap, base * 2 ** this.#tries) : 0;
    const wait = Math.max(this.#floor, Math.random() * most);
    if (!this.#polls || this.#tries > 1)
      this.#say("waiting", { ...reason, retryAt: Date.now() + wait });
    this.#timer = setTimeout(() => this.#open(), wait);
  }
}

// For headers, for POST, and for extras.js. Reads as HTML, 9.2.6, says.
export class Fetched extends EventTarget {
  #abort = new AbortController();

  constructor(url, { headers, method, body, withCredentials, id = "", opened }, hear, ended) {
    super();
    this.id = id;
    const credentials = withCredentials ? "include" : "same-origin";
    headers = { Accept: "text/event-stream", ...headers };
    const { signal } = this.#abort;
    fetch(url, { headers, method, body, credentials, signal, cache: "no-store" })
      .then((response) => this.#read(response, hear, opened))
      .then((refused) => ended(this, refused, url), () => ended(this, false, url));
  }

  close() {
    this.#abort.abort();
  }

  async #read(response, hear, opened) {
    this.status = response.status;
    const media = response.headers.get("Content-Type");
    if (this.status != 200 || !/^text\/event-stream\s*(;|$)/i.test(media)) return true;
    opened?.(this, response);
    let cr, rest = "", type = "", data = "", lastEventId = this.id;
    const write = (text) => {
      // A CR ends its line at once, and an LF after it none.
      const lines = text.slice(cr && text[0] == "\n").split(/\r\n?|\n/);
      cr = text.endsWith("\r");
      lines[0] = rest + lines[0];
      rest = lines.pop();
      for (const line of lines) {
        const [, field, value] = /^([^:]*):? ?([^]*)$/.exec(line);
        if (field == "event") type = value;
        else if (field == "data") data += value + "\n";
        else if (field == "id" && !value.includes("\0")) lastEventId = value;
        else if (field == "retry" && /^\d+$/.test(value)) this.retry = +value;
        else if (!line) {
          this.id = lastEventId;
          type ||= "message";
          if (data) hear({ target: this, type, data: data.slice(0, -1), lastEventId });
          type = data = "";
        }
      }
    };
    await response.body.pipeThrough(new TextDecoderStream()).pipeTo(new WritableStream({ write }));
  }
}

class Shared {
  #members = new Map();

  constructor(url, options, tell) {
    this.line = new Line(url, options, tell);
    this.tell = tell;
  }

  handle(who, { want, since, connection, wake, bye }) {
    const { line } = this;
    if (wake != null) {
      line.wake(wake == "online");
      return this.tell(line.status);
    }
    if (bye) this.#members.delete(who);
    else this.#members.set(who, want);
    const all = [...this.#members.values()];
    const union = (key) => [...new Set(all.flatMap((wanted) => wanted[key]))];
    line.want(union("channels"), union("types"), since, connection);
    if (line.opened) this.tell({ opened: line.opened });
    this.tell(line.status);
  }
}

// In the worker.
if (globalThis.SharedWorkerGlobalScope && self instanceof SharedWorkerGlobalScope) {
  const shareds = new Map();
  self.onconnect = ({ ports: [port] }) => {
    let shared, ports, name;
    const leave = () => {
      if (!ports.delete(port)) return;
      shared.handle(port, { bye: true });
      if (!ports.size) shareds.delete(name);
    };
    port.onmessage = ({ data }) => {
      const { key, url, options, lock } = data;
      if (!key) return data.bye ? leave() : shared.handle(port, data);
      if (!shareds.has(key)) {
        const all = new Set(), tell = (said) => all.forEach((one) => one.postMessage(said));
        shareds.set(key, [new Shared(url, options, tell), all]);
      }
      [shared, ports] = shareds.get(name = key);
      ports.add(port);
      // It is ours when the page is gone, however it went.
      navigator.locks?.request(lock, leave);
    };
  };
}

// Three ways to a line.
const alone = (url, options, hear) => {
  const shared = new Shared(url, options, hear);
  return { post: (said) => shared.handle("", said), close() {} };
};

// Has the lock for as long as the page lives, or until it is let go.
const hold = (lock, then) => {
  let release;
  const released = new Promise((done) => release = done);
  navigator.locks.request(lock, () => (then(), released));
  return release;
};

const byWorker = (url, options, hear, key, failed) => {
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

const byLock = (url, { now, ...options }, hear, key) => {
  const me = Math.random(), air = new BroadcastChannel(key);
  let shared, want;
  const post = (said) => {
    want = said.want || want;
    if (shared) shared.handle(me, said);
    else air.postMessage({ from: me, said });
  };
  const again = () => want && post({ want, ...now() });
  air.onmessage = ({ data: { asks, from, said } }) => {
    if (asks) again();
    else if (from) shared?.handle(from, said);
    else hear(said);
  };
  const release = hold(key, () => {
    if (!want) return;
    shared = new Shared(url, options, (said) => {
      air.postMessage({ said });
      hear(said);
    });
    air.postMessage({ asks: true });
    again();
  });
  const close = () => {
    want = null;
    shared?.line.drop();
    release();
    air.close();
  };
  return { post, close };
};

/** Calls each, whatever the others do. */
const call = (callbacks = [], ...args) => {
  for (const callback of [...callbacks]) {
    try {
      callback(...args);
    } catch (error) {
      reportError(error);
    }
  }
};

class Listeners {
  #by = new Map();

  on(name, callback) {
    this.#by.set(name, (this.#by.get(name) || new Set()).add(callback));
    return () => this.off(name, callback);
  }

  off(name, callback) {
    this.#by.get(name)?.delete(callback);
  }

  get names() {
    return [...this.#by.keys()];
  }

  _call(name, ...args) {
    call(this.#by.get(name), ...args);
  }
}

class Subscription extends Listeners {
  #push;
  #ends = new Set();

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
    call(this.#ends);
  }

  async *[Symbol.asyncIterator]() {
    const waiting = [];
    let wake, ended = false;
    const off = this.on("message", (_, event) => {
      if (waiting.push(event) > 1e4) off();
      wake?.();
    });
    const end = () => {
      ended = true;
      wake?.();
    };
    this.#ends.add(end);
    try {
      while (waiting.length || !ended) {
        if (waiting.length > 1e4) throw new RangeError("10,000 events wait to be read");
        if (waiting.length) yield waiting.shift();
        else await new Promise((done) => wake = done);
      }
    } finally {
      off();
      this.#ends.delete(end);
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
  #changing = false;
  #gone = new AbortController();
  #ways;

  constructor(url, { since = "", parse = "json", share = true, key = "", ...options }) {
    super();
    if (parse != "json" && parse != "text") throw new TypeError('parse is "json" or "text"');
    const how = { base: 1e3, cap: 3e4, silence: 1e4, withCredentials: false, ...options };
    this.parse = parse;
    this.#last = since;
    const full = new URL(url, document.baseURI).href;
    const name = `flask-push ${full} ${key} ${JSON.stringify(how)}`;
    this.#ways = [(hear) => alone(full, how, hear)];
    if (share && navigator.locks && globalThis.BroadcastChannel)
      this.#ways.unshift((hear) => byLock(full, { ...how, now: this.#now }, hear, name));
    if (share && share != "lock" && globalThis.SharedWorker)
      this.#ways.unshift((hear) => byWorker(full, how, hear, name, () => this.#rejoin(1)));
    const { signal } = this.#gone;
    addEventListener("pagehide", this.#sleep, { signal });
    for (const name of ["pageshow", "online", "focus"])
      addEventListener(name, this.#wake, { signal });
    for (const name of ["visibilitychange", "resume"])
      document.addEventListener(name, this.#wake, { signal });
  }

  subscribe(channel, callback, { parse = this.parse } = {}) {
    if (!channel) throw new TypeError("subscribe needs a channel");
    const subscription = new Subscription(this, channel, parse);
    this.#subscriptions.add(subscription);
    if (callback) subscription.on("message", callback);
    this._changed();
    return subscription;
  }

  close() {
    this.#gone.abort();
    for (const subscription of [...this.#subscriptions]) subscription.unsubscribe();
    this.#sleep();
    this.#ways = [];
    this.#hear({ state: "closed", reason: {} });
  }

  _leave(subscription) {
    this.#subscriptions.delete(subscription);
    this._changed();
  }

  /** Once for all that changes in a row. */
  _changed() {
    if (this.#changing) return;
    this.#changing = true;
    queueMicrotask(() => {
      this.#changing = false;
      if (this.#link) this.#link.post({ want: this.#wanted() });
      else if (this.#subscriptions.size) this.#join();
    });
  }

  #wanted() {
    const all = [...this.#subscriptions];
    return { channels: all.map((s) => s.channel), types: all.flatMap((s) => s.names) };
  }

  #now = () => ({ since: this.#last, connection: this.id });

  #join() {
    const joined = this.#joined = Symbol();
    const hear = (said) => joined == this.#joined && this.#hear(said);
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
      this.#link.post({ wake: "" });
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

  #opened({ connection, channels, at, asked }) {
    this.id = connection;
    if (at && !(compare(at, this.#last) < 0)) this.#last = at;
    for (const { channel } of channels ? this.#subscriptions : []) {
      if (asked.includes(channel) && !channels.includes(channel))
        this._call("error", new Error(`the view does not grant ${channel}`));
    }
  }

  #gap(gap, id) {
    if (this.#catching && compare(id, this.#last) < 0) return;
    this.#last = id || this.#last;
    const names = new Set([...this.#subscriptions].map((s) => s.channel));
    const channels = gap.channels?.filter((name) => names.has(name)) || [...names];
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
      let value = data;
      try {
        if (subscription.parse == "json") value = JSON.parse(data);
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
