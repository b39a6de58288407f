// The script of Flask-Push for browsers.
// A line is one connection to the server. All pages of a browser share one line, in a
// SharedWorker or in the page that holds a lock, and each page has a view of it. Each
// subscription has its own position, and skips events up to it. If a subscription begins
// before the position of the line, its page makes the line reconnect there. Durations are
// measured with the clock, because timers stop while a device sleeps.
// A position counts microseconds, in digits of base 62.
const number = (id) => [...before(id).slice(6)].reduce(
  (sum, digit) => sum * 62 + parseInt(digit, 36) + 26 * (digit > "Z"), 0,
);
const before = (id) => id.split(".")[0]; // The dot.
// Only positions of one epoch compare.
export const compare = (one, other) =>
  one && other && one.slice(0, 6) == other.slice(0, 6) ? number(one) - number(other) : NaN;
const parsed = JSON.parse;
const PARSE = { json: parsed, text: String };
const OWN = [
  "message", "push:open", "push:gap", "push:items", "push:whole", "push:disconnect", "push:expired",
  "push:retry", "push:heartbeat",
];
// After these statuses a retry can't help.
const FINAL = /^(204|40[01345]|41[034]|431)$/;
// Some servers refuse a longer address.
const LONGEST = 2e3;

// Some browsers never load a script again after it failed to load once.
const load = async () => Listeners.Source ||= (
  await import("./extras.js").catch(() => import(`./extras.js?${Date.now()}`))
).PushEventSource;

const makeLine = (address, given, tell) => {
  const members = new Map();
  let id = "";
  let from = ""; // Where the connection began, for which channels, and its push:open.
  let asked = [];
  let opened = null;
  let name = ""; // The connection's id: a name, a dot and a secret. An address has only the name.
  let channels = [];
  let types = [];
  let holds = ""; // The server's word for the items, while each page that needs them has all.
  let status = { state: "closed", reason: {} };
  let source = null;
  let timer = 0;
  let heard = 0; // When something last arrived, and the longest silence that is allowed.
  let patience = 31e3;
  let floor = 500; // The server's retry.
  let tries = 0;
  let mute = 0;
  let polls;

  const drop = () => {
    clearTimeout(timer); // This also clears an interval.
    source?.close?.();
    source = opened = null;
  };

  const say = (state, reason) =>
    tell(status = { state, reason: { ...reason, polling: polls } });

  const close = (reason) => {
    drop();
    say("closed", reason);
  };

  const want = ({ since, connection, fresh }) => {
    const all = [...members.values()], had = types;
    types = [...OWN, ...all.flatMap((one) => one.types)];
    for (const type of had)
      if (!types.includes(type)) source?.removeEventListener?.(type, hear);
    channels = [...new Set(all.flatMap((one) => one.channels))];
    name ||= connection || "";
    const back = since && (!id || compare(since, id) < 0);
    if (back) id = since;
    if (fresh) holds = "";
    if (!channels.length) {
      id = "";
      close();
    } else if (back || fresh || status.state == "closed" || channels.some((name) => !asked.includes(name)))
      open();
    else listen();
  };

  /** Reconnect if the connection can't be alive any more. */
  const wake = (now) => {
    const { state, reason } = status, silent = Date.now() - heard;
    if (silent < 0) heard = Date.now(); // The clock was set back.
    if (state == "waiting") {
      if (now || Date.now() >= reason.retryAt) open();
    } else if (state == "connecting" && silent > given.silence) {
      // A proxy may hold the answer back until it ends. Every second time, switch polling.
      if (!(mute ^= 1)) polls = !polls;
      again({ message: "nothing came" });
    } else if (state == "open" && silent > patience) open();
  };

  const open = (fetches) => {
    drop();
    const url = new URL(address);
    const ask = (name, value) => value && url.searchParams.append(name, value);
    for (const name of channels) ask("channel", name);
    ask("visible", 1);
    ask("poll", +polls);
    ask("last_event_id", from = before(id));
    ask("connection", before(name));
    ask("items", +types.includes("push:unset"));
    ask("holds", holds);
    const options = { ...given, posts: !given.method && url.href.length > LONGEST };
    asked = channels;
    heard = Date.now();
    if (!polls || status.state != "open") say("connecting");
    timer = setInterval(wake, 5e3);
    if (options.posts || fetches || options.transport == "fetch" || !globalThis.EventSource) {
      // A placeholder until the script is loaded.
      const target = source = {};
      load().then(
        (Source) => target == source && begin(Source, url, options),
        () => ended({ target }),
      );
    } else begin(EventSource, url, options);
  };

  const begin = (Source, url, options) => {
    source = new Source(url, options);
    source.onerror = ended;
    listen();
  };

  const listen = () => {
    for (const type of types) source?.addEventListener?.(type, hear);
  };

  const hear = ({ target, type, data, lastEventId }) => {
    if (target != source) return;
    heard = Date.now();
    if (type == "push:retry") floor = parsed(data).milliseconds || floor;
    else if (type == "push:heartbeat") patience = 2e3 * (parsed(data).seconds || 15) + 1e3;
    else {
      id = lastEventId || id;
      if (type == "push:open") {
        tries = mute = 0;
        const said = parsed(data), { connection, items } = said;
        if (connection?.includes(".")) name = connection;
        // A server of an older version sends no changes of items. A push:open that is repeated
        // does not mention items.
        if (!opened && items != "changes") holds = "";
        // When the newest event of the replay was published, by this clock.
        opened = { ...said, connection: name, asked, types, when: heard - said.age + 1 };
        tell({ opened: { ...opened, from, at: lastEventId } });
        say("open");
      } else {
        if (type == "push:items") holds = "";
        if (type == "push:whole") holds = parsed(data).holds;
        tell({ type, data, id });
      }
    }
  };

  const ended = ({ target }) => {
    if (target != source) return;
    const { status, message, readyState } = target, reason = { status, message };
    if (message || FINAL.test(status)) close(reason);
    // An EventSource does not show why it was refused. A fetch does.
    else if (readyState == 2 && target.constructor == globalThis.EventSource) open(true);
    else again(reason);
  };

  const again = (reason) => {
    drop();
    const most = tries++ || !polls ? Math.min(given.cap, given.base * 2 ** tries) : 0;
    const wait = Math.max(floor, Math.random() * most);
    if (!polls || tries > 1) say("waiting", { ...reason, retryAt: Date.now() + wait });
    timer = setTimeout(open, wait);
  };

  return {
    _members: members,
    _drop: drop,

    /** A member posts that it wants channels from a position on, is awake, or leaves. */
    _handle(who, said) {
      if (said.wake) wake(said.wake == "online");
      else {
        if (said.bye) members.delete(who);
        else members.set(who, said.want);
        want(said);
        if (opened) tell({ opened: { ...opened, from: id, at: id } });
      }
      tell(status);
    },
  };
};

// In the SharedWorker, which has one line.
if (/^flask-push 4/.test(globalThis.name)) {
  let line;
  globalThis.onconnect ||= ({ ports: [port] }) => {
    port.onmessage = ({ data }) => {
      const { url, options, lock } = data;
      if (!lock) return line._handle(port, data);
      line ||= makeLine(url, options, (said) => {
        for (const one of line._members.keys()) one.postMessage(said);
      });
      // The worker gets the lock when the page has ended, even if it crashed.
      navigator.locks?.request(lock, () => line._handle(port, { bye: true }));
    };
  };
}

// Holds the lock until it is released, or the page ends.
const hold = (lock, then, failed) => {
  let release;
  const released = new Promise((done) => release = done);
  if (navigator.locks) navigator.locks.request(lock, () => (then(), released)).catch(failed);
  else then();
  return release;
};

// Three ways to a line. Each returns a function that posts to the line. A way that does not
// work throws, or calls `failed` later.
const byWorker = (url, options, key, hear, failed) => {
  const worker = new SharedWorker(import.meta.url, { type: "module", name: key });
  const { port } = worker, lock = key + Math.random();
  worker.onerror = failed;
  port.onmessage = ({ data }) => hear(data);
  let release;
  const held = new Promise((then) => release = hold(lock, then, failed));
  const post = (said) => held.then(() => {
    port.postMessage(said);
    if (said.bye) release();
  }).catch(failed);
  post({ url, options, lock });
  return post;
};

const byLock = (url, options, key, hear, failed) => {
  let line;
  const me = Math.random(), air = navigator.locks && new BroadcastChannel(key);
  const tell = (said) => {
    air.postMessage({ said });
    hear(said);
  };
  const release = hold(key, () => {
    line = makeLine(url, options, tell);
    // The other pages post again what they want. Closed ones can't.
    tell({ asks: true });
  }, failed);
  air.onmessage = ({ data: { from, said } }) => {
    if (from) line?._handle(from, said);
    else hear(said);
  };
  return (said) => {
    if (line) line._handle(me, said);
    else air.postMessage({ from: me, said });
    if (said.bye) {
      line?._drop();
      release();
      air.close();
    }
  };
};

const alone = (url, options, key, hear) => {
  const line = makeLine(url, options, hear);
  return (said) => line._handle("", said);
};

/** Calls once, after all changes of one task. */
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
    const all = this.#by.get(name);
    if (callback) all?.delete(callback);
    if (!callback || !all?.size) this.#by.delete(name);
  }

  get _names() {
    return [...this.#by.keys()];
  }

  /** Calls each callback, even if another one throws. Returns how many there are. */
  _call(name, ...args) {
    const all = [...this.#by.get(name) || []];
    for (const callback of all) {
      try {
        callback(...args);
      } catch (error) {
        (globalThis.reportError || console.error)(error);
      }
    }
    return all.length;
  }
}

class Subscription extends Listeners {
  _more = 0;

  constructor(channel, parse, changed) {
    super();
    this.channel = channel;
    this.parse = parse;
    this._changed = changed;
  }

  on(type, callback) {
    const off = super.on(type, callback);
    this._changed();
    return off;
  }

  unsubscribe() {
    this._live = false;
    this._changed(this);
    this._call("push:end");
  }

  async *[Symbol.asyncIterator]() {
    const waiting = [];
    let wake;
    const put = (_, event) => {
      if (waiting.push(event) > 1e4) off();
      wake?.();
    };
    const off = this.on("message", put), forget = this.on("push:end", put);
    try {
      while (waiting.length <= 1e4) {
        if (!waiting.length) await new Promise((done) => wake = done);
        else if (waiting[0]) yield waiting.shift();
        else return;
      }
      throw new RangeError("10,000 events wait");
    } finally {
      off();
      forget();
    }
  }
}

/**
 * The view that a page has of a line: each subscription gets each event after its position
 * once. A subscription has
 * - `_at`, its position, and `_made`, when it was created, until its first event: without
 *   `since` it begins at that time, `_more` microseconds before the end of a replay;
 * - `_live`, whether the line has its channel from its position on.
 */
const makeView = (push, changed) => {
  const all = new Set();
  let head = ""; // The line's last position, the end of its replay, and its channels.
  let end = "";
  let asked = [];

  // A new event that is stored has a higher position than all before it.
  const advance = (id, first, visit) => {
    head = id || head;
    for (const one of [...all]) {
      const { _at, _live } = one, ahead = compare(id, _at);
      if (!_live || !one._items && (ahead < 0 || ahead == 0 && first)) continue;
      one._at = id;
      one._made = 0;
      if (!(compare(id, one._end) + one._more + !first <= 0)) visit(one, _at);
    }
  };

  const lose = (id, gap, test) => {
    const names = new Set();
    advance(id, true, ({ channel, _items }, had) => {
      if (!_items && had && test(channel, had)) names.add(channel);
    });
    if (names.size) push._tell("gap", { ...gap, channels: [...names] });
  };

  return {
    _all: all,

    _add(one, since) {
      one._at = since || head;
      one._live = !since && asked.includes(one.channel);
      one._end = one._live && end;
      one._made = !since && Date.now();
      all.add(one);
    },

    /** The lowest position of subscriptions that the line does not serve yet. */
    _needed() {
      return [...all].reduce(
        (since, { _live, _at }) => !_live && _at && !(compare(_at, since) >= 0) ? _at : since, "",
      );
    },

    /** The line ended, or is another one. */
    _reset(id) {
      asked = [];
      head = id ?? head;
      for (const one of all) {
        one._live = false;
        one._call("push:reset");
      }
    },

    _open(said) {
      const { from, at, channels, types } = { end, asked } = said;
      head = at || from;
      push.id = said.connection;
      for (const one of all) {
        const { channel } = one;
        one._at ||= at;
        // A line that did not listen to a type lacks items.
        one._live = asked.includes(channel) && !(compare(from || at, one._at) > 0)
          && !(one._items && one._names.some((type) => !types.includes(type)));
        if (!one._live) {
          changed();
          continue;
        }
        if (one._made) {
          one._end = end;
          one._more = 1e3 * Math.max(0, said.when - one._made);
          one._made = 0;
        }
        const denied = channels && !channels.includes(channel);
        if (denied && !one._denied)
          push._tell("error", new Error(`the view does not grant ${channel}`));
        one._denied = denied;
      }
      // The epoch has changed.
      if (at)
        lose(at, { reason: "restarted", wait: 0 }, (_, had) => isNaN(compare(at, had)));
    },

    _gap(gap, id) {
      lose(id, gap, (channel) => gap.channels?.includes(channel) ?? true);
    },

    _event(type, data, id) {
      // In a replay, the first event at a position is stored. All others are not.
      const first = compare(id, head) != 0;
      const [, channel, item, isOld] = id.replace(/~/g, "%").split(".").map(decodeURIComponent);
      advance(id, first, (one) => {
        // push:items has the id of the event before it.
        const others = channel && one.channel != channel && type != "push:items";
        if (others || isOld && !one._items) return;
        let value;
        try {
          value = PARSE[one.parse](data);
        } catch (error) {
          push._tell("error", new SyntaxError(`not JSON on ${channel}: ${error.message}`), data);
          return;
        }
        one._call(type, value, { type, data: value, id, channel, item });
      });
    },
  };
};

/** Joins a line in the first way that works, and joins again if the line is lost. */
const makeLink = (push, ways, ...given) => {
  let link = null;
  let joined;
  let silent = 0; // How many questions the line has not answered.
  let timer;

  const changed = soon(() => {
    if (link) post();
    else rejoin(0);
  });
  const view = makeView(push, changed);

  const post = () => {
    const all = [...view._all];
    link({
      want: { channels: all.map((one) => one.channel), types: all.flatMap((one) => one._names) },
      since: view._needed(),
      fresh: all.some((one) => one._items && !one._live),
      connection: push.id,
    });
  };

  /** Tell a new line what this page wants. */
  const start = () => {
    view._reset();
    post();
  };

  const join = () => {
    const mine = joined = (said) => mine == joined && hear(said);
    const failed = () => mine == joined && rejoin(1);
    try {
      link = ways[0](...given, mine, failed);
    } catch {
      return failed();
    }
    start();
    timer = setInterval(() => {
      // If the page that started the worker crashes, the worker ends too.
      if (silent++) rejoin(silent > 3);
      else link({ wake: "asked" });
    }, 1e4);
  };

  const rejoin = (skip) => {
    ways.splice(0, skip);
    sleep();
    if (view._all.size && ways.length) join();
  };

  const sleep = () => {
    clearInterval(timer);
    joined = null;
    view._reset();
    link?.({ bye: true });
    link = null;
  };

  const hear = ({ asks, state, reason, opened, type, data, id }) => {
    silent = 0;
    if (asks) start();
    else if (opened) view._open(opened);
    else if (type == "push:gap") view._gap(parsed(data), id);
    else if (/^push:[de]/.test(type)) push._call(type.slice(5), parsed(data));
    else if (type) view._event(type, data, id);
    else {
      if (state == "closed") view._reset("");
      push._be(state, reason);
    }
  };

  return {
    _given: given, // signed.js goes on at another address.
    _view: view,
    _changed: changed,
    _wake({ type, persisted }) {
      if (type == "pagehide") sleep();
      else if (link) link({ wake: type });
      else if (persisted) rejoin(0);
    },
    _end() {
      rejoin(9);
    },
  };
};

const parser = (parse) => {
  if (!PARSE[parse]) throw new TypeError(`there is no ${parse}`);
  return parse;
};

export class Push extends Listeners {
  state = "closed";
  reason = {};
  id = "";
  _since; // Where subscriptions begin until the line is open.
  #gone = new AbortController();

  constructor(url, {
    since, parse = "json", share = true, key,
    withCredentials, transport, headers, method, body, base = 1e3, cap = 3e4, silence = 1e4,
    ...rest
  }) {
    super();
    this.parse = parser(parse);
    this._since = since;
    this._refuse(rest);
    const how = { withCredentials, transport, headers, method, body, base, cap, silence };
    const full = new URL(url, globalThis.document?.baseURI || globalThis.location).href;
    const name = `flask-push 4 ${JSON.stringify([full, key, how])}`;
    const ways = [byWorker, byLock, alone].slice(share ? share == "lock" : 2);
    const link = this._link = makeLink(this, ways, full, how, name);
    const { signal } = this.#gone, listen = globalThis.addEventListener;
    // Some of these are events of the document, which don't bubble.
    for (const name of "pagehide pageshow online focus visibilitychange resume".split(" "))
      listen?.(name, link._wake, { signal, capture: true });
  }

  on(name, callback) {
    if (!["state", "gap", "disconnect", "error"].includes(name)) this._refuse({ [name]: 1 });
    return super.on(name, callback);
  }

  subscribe(channel, callback, { parse = this.parse, since = this._since, ...rest } = {}) {
    if (!channel) throw new TypeError("Must provide a channel");
    this._refuse(rest);
    const { _view: view, _changed: changed } = this._link;
    const subscription = new Subscription(channel, parser(parse), (left) => {
      if (left) view._all.delete(left);
      changed();
    });
    view._add(subscription, since);
    if (callback) subscription.on("message", callback);
    changed();
    return subscription;
  }

  items() {
    throw new TypeError("import items.js");
  }

  close() {
    this.#gone.abort();
    for (const subscription of this._link._view._all) subscription.unsubscribe();
    this._link._end();
    this._be("closed", {});
  }

  _be(state, reason) {
    if (JSON.stringify([state, reason]) == JSON.stringify([this.state, this.reason])) return;
    this.state = state;
    this.reason = reason;
    if (state == "open") this._since = "";
    const why = reason.message || reason.status;
    this._call("state", state, reason)
      || state == "closed" && why && console.warn("push.js is closed:", why);
  }

  /** Calls the callbacks, or writes to the console if there are none. */
  _tell(name, ...args) {
    this._call(name, ...args) || (console[name] || console.warn)(name, ...args);
  }

  _refuse(unknown) {
    for (const name in unknown)
      queueMicrotask(() => this._tell("error", TypeError(`there is no ${name}`)));
  }
}

/** A connection to a view that returns a stream. */
export const connect = (url, options = {}) => new Push(url, options);
