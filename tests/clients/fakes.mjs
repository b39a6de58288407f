// A browser with pages and workers, in a time of its own: nothing waits, and the same seed
// gives the same run. Its server is in server.mjs. Each page and worker
// runs push.js itself, with items.js, presence.js and follow.js: those which are served, or the
// files that PUSH_JS, ITEMS_JS, PRESENCE_JS and FOLLOW_JS name.
import { readFileSync } from "node:fs";
import { classic } from "./classic.mjs";
import { BEGAN } from "./server.mjs";

const STATIC = new URL("../../src/flask_push/static/", import.meta.url);
const read = (path) => readFileSync(new URL(path, STATIC), "utf8");
const NAMES = ["push", "items", "presence", "follow"];
const OTHERS = NAMES.map((name) => process.env[`${name.toUpperCase()}_JS`]);
// Minified names are the same in all files, so either all are minified or none.
const [CODE, ...MORE] = NAMES.map((name, n) => OTHERS.some(Boolean)
  ? classic(read(OTHERS[n] || `${name}.js`)) : read(`min/${name}.classic.js`));

/** Numbers by chance, but the same ones for a seed. */
export const chance = (seed) => {
  let last = seed * 2654435761 >>> 0;
  const next = () => {
    last = last + 0x6d2b79f5 >>> 0;
    let t = Math.imul(last ^ last >>> 15, 1 | last);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
  };
  return Object.assign(next, {
    below: (most) => Math.floor(next() * most),
    of: (some) => some[Math.floor(next() * some.length)],
  });
};

/** What is to be done, in the order of its time. */
export class Time {
  now = 0;
  #due = [];
  #count = 0;

  at(when, run) {
    const task = { when: Math.max(when, this.now), count: ++this.#count, run };
    let low = 0, high = this.#due.length;
    while (low < high) {
      const middle = low + high >> 1;
      if (this.#due[middle].when <= task.when) low = middle + 1;
      else high = middle;
    }
    this.#due.splice(low, 0, task);
    return task;
  }

  /** Until so many milliseconds have gone by, with all that is done meanwhile. */
  async pass(milliseconds) {
    const end = this.now + milliseconds;
    await settled();
    while (this.#due.length && this.#due[0].when <= end) {
      const task = this.#due.shift();
      this.now = task.when;
      task.run?.();
      await settled();
    }
    this.now = end;
  }
}

/** When all promises have been kept that can be. */
const settled = () => new Promise((done) => setImmediate(done));

/** Messages that arrive in the order in which they were sent. */
class Pipe {
  #free = 0;

  constructor(time, random, latency) {
    Object.assign(this, { time, random, latency });
  }

  send(run) {
    const when = this.time.now + this.random() * this.latency;
    this.#free = Math.max(this.#free, when);
    this.time.at(this.#free, run);
  }
}

/** A global scope: a page's, or a worker's. */
class Scope {
  alive = true;
  frozen = false;
  skew = 0; // Of its clock.
  said = []; // In the console.
  #queue = [];
  #timers = new Map();
  #listeners = [];

  constructor(browser) {
    this.browser = browser;
    this.time = browser.time;
  }

  /** Do it here: not in a page that is gone, and later in one that is frozen. */
  run(then) {
    if (!this.alive) return;
    if (this.frozen) this.#queue.push(then);
    else then();
  }

  get listening() {
    return this.#listeners.filter(({ signal }) => !signal?.aborted).length;
  }

  thaw() {
    this.frozen = false;
    const queue = this.#queue;
    this.#queue = [];
    for (const then of queue) this.run(then);
  }

  #timer = (repeat) => (then, wait = 0, ...given) => {
    const key = this.#timers.size + 1 + Math.random();
    const due = () => {
      if (!this.#timers.has(key)) return;
      if (repeat) this.#timers.set(key, this.time.at(this.time.now + wait, () => this.run(due)));
      else this.#timers.delete(key);
      then(...given);
    };
    this.#timers.set(key, this.time.at(this.time.now + wait, () => this.run(due)));
    return key;
  };

  dispatch(type, more = {}) {
    for (const { name, then, signal } of [...this.#listeners])
      if (name == type && !signal?.aborted) then({ type, ...more });
  }

  globals() {
    const scope = this, { browser } = this;
    class HereDate extends Date {
      static now() {
        return Math.floor(BEGAN + scope.time.now) + scope.skew;
      }
    }
    const clear = (key) => {
      const task = this.#timers.get(key);
      if (task) task.run = null;
      this.#timers.delete(key);
    };
    const note = (...given) => this.said.push(given.map(String).join(" "));
    return {
      Date: HereDate,
      Math: new Proxy(Math, {
        get: (own, name) => name == "random" ? browser.random : own[name],
      }),
      setTimeout: this.#timer(false),
      setInterval: this.#timer(true),
      clearTimeout: clear,
      clearInterval: clear,
      console: { error: note, warn: note, log: note },
      reportError: note,
      addEventListener: (name, then, { signal } = {}) =>
        this.#listeners.push({ name, then, signal }),
      URL, URLSearchParams, AbortController, Promise, queueMicrotask, Object, JSON,
      EventSource: browser.source(this, "EventSource"),
      ...browser.server.answer && { fetch: browser.fetch(this) },
      BroadcastChannel: browser.air(this),
      navigator: { locks: browser.locks(this) },
      location: { href: "http://localhost/push.js", origin: "http://localhost" },
    };
  }

  /** Run push.js. What it exports. */
  start(more = {}, items = true) {
    const globals = { ...this.globals(), ...more };
    globals.globalThis = globals.self = globals;
    const names = Object.keys(globals);
    // What is not named here is none.
    const none = ["SharedWorker", "document", "fetch", "window"].filter((n) => !(n in globals));
    const scripts = items ? [CODE, ...MORE] : [CODE];
    const code = `${scripts.join("\nglobalThis.FlaskPush = FlaskPush;\n")}\nreturn FlaskPush;`;
    const make = new Function(...names, ...none, code);
    this.exported = make(...names.map((name) => globals[name]));
    this.exported.Listeners.Source = this.browser.source(this, "PushEventSource");
    this.self = globals;
    return this.exported;
  }
}

export class Browser {
  scopes = [];
  sources = new Set();
  workers = new Map();
  ports = []; // Of pages.
  blocked = {}; // What can't be had: worker, locks, air.
  #locks = new Map();
  #airs = new Map();
  #pipes = new Map();

  constructor(time, random, server, latency = 5) {
    Object.assign(this, { time, random, server, latency });
  }

  #pipe(latency = this.latency) {
    return new Pipe(this.time, this.random, latency);
  }

  page({ items = true } = {}) {
    const scope = new Scope(this);
    this.scopes.push(scope);
    scope.start({
      document: { baseURI: "http://localhost/", currentScript: { src: "http://localhost/push.js" } },
      SharedWorker: this.#shared(scope),
    }, items);
    return scope;
  }

  /** The page is left, and perhaps kept. */
  hide(scope, persisted) {
    scope.dispatch("pagehide", { persisted });
    if (persisted) scope.frozen = true;
    else this.crash(scope);
  }

  show(scope) {
    scope.thaw();
    scope.dispatch("pageshow", { persisted: true });
  }

  /** Without a word. The workers that it began go along. */
  crash(scope) {
    scope.alive = false;
    for (const [name, queue] of this.#locks) {
      const held = queue[0]?.scope == scope;
      const rest = queue.filter((one) => one.scope != scope);
      queue.splice(0, queue.length, ...rest);
      if (held) this.#grant(name);
    }
    for (const [name, worker] of this.workers) {
      if (worker.host != scope) continue;
      this.workers.delete(name);
      if (worker.scope.alive) this.crash(worker.scope);
    }
    for (const source of [...this.sources]) if (source.scope == scope) source.close();
  }

  locks(scope) {
    return {
      request: (name, then) => new Promise((done, failed) => {
        if (this.blocked.locks) return failed(new Error("SecurityError"));
        const queue = this.#locks.get(name) || [];
        this.#locks.set(name, queue);
        queue.push({ scope, then, done, failed, held: false });
        this.#grant(name);
      }),
    };
  }

  #grant(name) {
    const [first] = this.#locks.get(name);
    if (!first || first.held) return;
    first.held = true;
    this.#pipe().send(() => first.scope.run(async () => {
      try {
        first.done(await first.then());
      } catch (error) {
        first.failed(error);
      }
      const queue = this.#locks.get(name), index = queue.indexOf(first);
      if (index >= 0) queue.splice(index, 1);
      this.#grant(name);
    }));
  }

  air(scope) {
    const browser = this;
    return class {
      constructor(name) {
        if (browser.blocked.air) throw new Error("SecurityError");
        this.name = name;
        this.open = true;
        const all = browser.#airs.get(name) || new Set();
        browser.#airs.set(name, all.add(this));
        this.scope = scope;
        this.pipes = new Map();
      }

      postMessage(said) {
        if (!this.open) throw new Error("InvalidStateError");
        for (const other of browser.#airs.get(this.name)) {
          if (other == this) continue;
          if (!this.pipes.has(other)) this.pipes.set(other, browser.#pipe());
          const data = structuredClone(said);
          this.pipes.get(other).send(() => other.scope.run(() => {
            if (other.open) other.onmessage?.({ data });
          }));
        }
      }

      close() {
        this.open = false;
        browser.#airs.get(this.name).delete(this);
      }
    };
  }

  #shared(host) {
    const browser = this;
    return class {
      constructor(url, given) {
        if (browser.blocked.worker == "throws") throw new Error("SecurityError");
        const name = typeof given == "string" ? given : given.name;
        if (browser.blocked.worker) {
          if (browser.blocked.worker == "fails")
            browser.#pipe().send(() => host.run(() => this.onerror?.({})));
          this.port = { postMessage() {} };
          return;
        }
        const worker = browser.workers.get(name) || browser.#begin(name, host);
        const [here, there] = browser.#channel(host, worker.scope);
        this.port = here;
        browser.ports.push(here);
        worker.ready(() => worker.scope.self.onconnect({ ports: [there] }));
      }
    };
  }

  #begin(name, host) {
    const scope = new Scope(this), early = this.#pipe();
    this.scopes.push(scope);
    const worker = { scope, host, ready: (then) => early.send(() => scope.run(then)) };
    this.workers.set(name, worker);
    scope.start({ SharedWorkerGlobalScope: class {}, name });
    return worker;
  }

  #channel(here, there) {
    const ends = [here, there].map((scope) => ({ scope, pipe: this.#pipe() }));
    ends.forEach((end, index) => {
      const other = ends[1 - index];
      const waiting = [];
      let hear;
      Object.defineProperty(end, "onmessage", {
        set(then) {
          hear = then;
          for (const data of waiting.splice(0)) hear({ data });
        },
      });
      end.arrive = (data) => hear ? hear({ data }) : waiting.push(data);
      end.postMessage = (said) => {
        const data = structuredClone(said);
        end.pipe.send(() => other.scope.run(() => other.arrive(data)));
      };
    });
    return ends;
  }

  /** A fetch of the server's `answer`: one that has none is a network error. */
  fetch(scope) {
    return (url, { signal } = {}) => new Promise((done, failed) => {
      signal?.addEventListener("abort", () => failed(signal.reason));
      this.#pipe(this.latency * 4).send(() => scope.run(() => {
        const answer = this.server.answer(String(url));
        if (answer) done(answer);
        else failed(new TypeError("network error"));
      }));
    });
  }

  /** EventSource, or what stands in for it. */
  source(scope, kind) {
    const browser = this, { server } = this;
    class Source extends EventTarget {
      readyState = 0;
      #in = browser.#pipe();
      #sent = 0; // How often it was cut off.

      constructor(given, { posts } = {}) {
        super();
        this.types = new Set();
        this.scope = scope;
        const url = new URL(given);
        this.asked = url.searchParams.getAll("channel");
        this.posted = !!posts;
        if (posts) url.searchParams.delete("channel");
        this.url = url.href;
        browser.sources.add(this);
        this.lastEventId = "";
        browser.#pipe(browser.latency * 4).send(() => this.readyState == 2 || server.accept(this));
      }

      addEventListener(type, then) {
        this.types.add(type);
        super.addEventListener(type, then);
      }

      removeEventListener(type, then) {
        this.types.delete(type);
        super.removeEventListener(type, then);
      }

      open() {
        this.#send(() => this.readyState = 1);
      }

      say(type, data, id = "") {
        if (id) this.sent = id;
        this.#send(() => {
          this.lastEventId = id || this.lastEventId;
          const event = new Event(type);
          this.dispatchEvent(Object.assign(event, { data, lastEventId: this.lastEventId }));
        });
      }

      /** Events that have not arrived are lost. */
      snap() {
        this.#in = browser.#pipe();
        this.#sent++;
        this.fail();
      }

      fail() {
        this.#send(() => {
          this.readyState = 0;
          const event = new Event("error");
          this.dispatchEvent(event);
        });
      }

      refuse(status) {
        this.#send(() => {
          this.readyState = 2;
          if (kind == "PushEventSource") this.status = status;
          this.dispatchEvent(new Event("error"));
        });
      }

      #send(then) {
        const sent = this.#sent;
        this.#in.send(() => scope.run(() => this.readyState == 2 || sent != this.#sent || then()));
      }

      close() {
        this.readyState = 2;
        browser.sources.delete(this);
        server.forget(this);
      }

      set onerror(then) {
        this.addEventListener("error", then);
      }
    }
    Object.defineProperty(Source, "name", { value: kind });
    return Source;
  }
}
