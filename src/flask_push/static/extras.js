// Beside push.js: an EventSource that is a script, an element, and what Juggernaut had.
import { connect, Fetched } from "./push.js";

// A page that needs both takes `connect` from here, so that there is one worker.
export { connect };

// A header is bytes, and a script gives them as Latin-1.
const bytes = (text) => String.fromCharCode(...new TextEncoder().encode(text));

/** For what wants an `EventSource`: HTML, 9.2, on `fetch`. */
export class PushEventSource extends EventTarget {
  #url;
  #withCredentials;
  #state = 0;
  #source = null;
  #asked; // Where a redirect led.
  #known = false; // Whether it was ever open.
  #id = "";
  #wait = 3e3;
  #timer = 0;
  #on = {};
  #gone = new AbortController();

  static {
    Object.entries({ CONNECTING: 0, OPEN: 1, CLOSED: 2 }).forEach(([name, value]) => {
      for (const where of [this, this.prototype])
        Object.defineProperty(where, name, { value, enumerable: true });
    });
    for (const name of ["url", "withCredentials", "readyState", "close"])
      Object.defineProperty(this.prototype, name, { enumerable: true });
    for (const type of ["open", "message", "error"]) {
      Object.defineProperty(this.prototype, "on" + type, {
        get() {
          return this.#on[type] || null;
        },
        set(callback) {
          if (!(type in this.#on))
            this.addEventListener(type, (event) => this.#on[type]?.call?.(this, event));
          this.#on[type] = Object(callback) === callback ? callback : null;
        },
        enumerable: true,
        configurable: true,
      });
    }
  }

  constructor(url, options = {}) {
    super();
    if (!arguments.length) throw new TypeError("an EventSource needs a URL");
    try {
      const base = globalThis.document?.baseURI || globalThis.location;
      this.#asked = this.#url = new URL(url, base).href;
    } catch {
      throw new DOMException(`${url} is no URL`, "SyntaxError");
    }
    this.#withCredentials = !!options?.withCredentials;
    // A page in the back-forward cache has no stream. It has missed nothing when it is back.
    const { signal } = this.#gone;
    addEventListener("pagehide", this.#drop, { signal });
    addEventListener("pageshow", ({ persisted }) => persisted && this.#ask(), { signal });
    this.#ask();
  }

  get url() {
    return this.#url;
  }

  get withCredentials() {
    return this.#withCredentials;
  }

  get readyState() {
    return this.#state;
  }

  close() {
    this.#state = 2;
    this.#gone.abort();
    this.#drop();
  }

  #drop = () => {
    clearTimeout(this.#timer);
    this.#id = this.#source?.id ?? this.#id;
    this.#source?.close();
    this.#source = null;
  };

  #ask = () => {
    this.#state = 0;
    const id = this.#id, withCredentials = this.#withCredentials;
    const headers = id ? { "Last-Event-ID": bytes(id) } : {};
    const how = { headers, id, withCredentials, opened: this.#opened };
    this.#source = new Fetched(this.#asked, how, this.#hear, this.#ended);
  };

  #opened = (source, { url }) => {
    if (source != this.#source) return;
    this.#asked = url;
    this.#known = true;
    this.#state = 1;
    this.dispatchEvent(new Event("open"));
  };

  #hear = ({ target, type, data, lastEventId }) => {
    if (target != this.#source) return;
    const { origin } = new URL(this.#asked);
    this.dispatchEvent(new MessageEvent(type, { data, lastEventId, origin }));
  };

  #ended = async (source, refused) => {
    if (source == this.#source && !source.status && !this.#known) refused = await this.#futile();
    if (source != this.#source) return;
    this.#drop();
    // A timer that is set to more than that goes off at once.
    this.#wait = Math.min(source.retry ?? this.#wait, 2 ** 31 - 1);
    if (refused) this.close();
    else this.#state = 0;
    this.dispatchEvent(new Event("error"));
    if (this.#state == 0) this.#timer = setTimeout(this.#ask, this.#wait);
  };

  /** A refusal by CORS looks like a cut, and so does what no request can be for. */
  async #futile() {
    if (!/^http/.test(this.#asked)) return true;
    const { type } = await fetch(this.#asked, { method: "HEAD", mode: "no-cors" }).catch(() => ({}));
    return type == "opaque";
  }
}

const ATTRIBUTES = ["src", "channels", "types", "since", "parse", "key"];

const define = () => customElements.define("push-source", class extends HTMLElement {
  static observedAttributes = ATTRIBUTES;
  #push = null;
  #how = "";
  #heard = new Map();
  #settling = false;

  get push() {
    return this.#push;
  }

  connectedCallback() {
    this.#settle();
  }

  disconnectedCallback() {
    this.#settle();
  }

  attributeChangedCallback() {
    this.#settle();
  }

  /** Once for all that changes in a row: an element that is moved keeps its connection. */
  #settle() {
    if (this.#settling) return;
    this.#settling = true;
    queueMicrotask(() => {
      this.#settling = false;
      const [src, channels, types, since, parse, key] = ATTRIBUTES.map(
        (name) => this.getAttribute(name) || undefined,
      );
      const how = this.isConnected && src ? JSON.stringify([src, since, parse, key]) : "";
      if (how != this.#how) {
        this.#push?.close();
        this.#heard.clear();
        this.#how = how;
        this.#push = how ? this.#connect(src, { since, parse, key }) : null;
      }
      if (how) this.#listen(channels || "", types || "message");
    });
  }

  #connect(src, options) {
    const push = connect(src, options);
    push.on("state", (state, reason) => {
      this.setAttribute("state", state);
      this.#tell("push:state", { state, reason });
    });
    push.on("gap", (gap) => this.#tell("push:gap", gap));
    push.on("error", (error, data) => this.#tell("push:error", { error, data }));
    return push;
  }

  #listen(channels, types) {
    const words = (text) => new Set(text.split(/\s+/).filter(Boolean));
    const wanted = words(channels);
    for (const [name, { types: had, subscription }] of this.#heard) {
      if (wanted.has(name) && had == types) {
        wanted.delete(name);
        continue;
      }
      subscription.unsubscribe();
      this.#heard.delete(name);
    }
    for (const name of wanted) {
      const subscription = this.#push.subscribe(name);
      for (const type of words(types))
        subscription.on(type, (_, event) => this.#tell(type, event));
      this.#heard.set(name, { types, subscription });
    }
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true }));
  }
});

// There is none in a worker.
if (globalThis.customElements && !customElements.get("push-source")) define();

/** What pages were written for until 2012: its words, on `connect`. */
export class Juggernaut {
  static Message = class Message {
    constructor(fields) {
      Object.assign(this, fields);
    }

    static fromJSON(json) {
      return new this(JSON.parse(json));
    }

    toJSON() {
      return JSON.stringify({ ...this });
    }
  };

  sessionID = "";
  #push;
  #write;
  #subscriptions = new Map();
  #callbacks = new Map();
  #connected = null; // Not yet.

  constructor(given = {}) {
    const { url = "/stream", write = "/write", host, port, secure, meta, ...options } = given;
    const server = `http${secure ? "s" : ""}://${host || location.hostname}:${port || 8080}`;
    const base = host || port ? server : document.baseURI;
    this.meta = meta;
    this.#write = [new URL(write, base), options.withCredentials ? "include" : "same-origin"];
    this.#push = connect(new URL(url, base), options);
    this.#push.on("state", (state) => this.#changed(state));
    for (const name of ["gap", "error"])
      this.#push.on(name, (...args) => this.#trigger(name, ...args));
  }

  on(name, callback) {
    this.#callbacks.set(name, [...(this.#callbacks.get(name) || []), callback]);
  }

  bind(name, callback) {
    this.on(name, callback);
  }

  unbind(name) {
    this.#callbacks.delete(name);
  }

  subscribe(channel, callback) {
    if (!channel) throw new TypeError("Must provide a channel");
    this.on(`${channel}:data`, callback);
    if (this.#subscriptions.has(channel)) return;
    const subscription = this.#push.subscribe(channel, (data, { id }) => {
      this.#trigger("message", new Juggernaut.Message({ channel, data, id }));
      this.#trigger("data", channel, data);
      this.#trigger(`${channel}:data`, data);
    });
    this.#subscriptions.set(channel, subscription);
  }

  unsubscribe(channel) {
    if (!channel) throw new TypeError("Must provide a channel");
    this.unbind(`${channel}:data`);
    this.#subscriptions.get(channel)?.unsubscribe();
    this.#subscriptions.delete(channel);
  }

  /** A request, to a view of your own. */
  write(message) {
    const [url, credentials] = this.#write;
    const headers = { "Content-Type": "application/json", "X-Push-Connection": this.sessionID };
    const body = JSON.stringify({ meta: this.meta, ...message });
    return fetch(url, { method: "POST", headers, body, credentials });
  }

  #changed(state) {
    this.sessionID = this.#push.id;
    if (state == "open" && !this.#connected) {
      const again = this.#connected == false;
      this.#connected = true;
      this.#trigger("connect");
      if (again) this.#trigger("reconnect");
    } else if (/waiting|closed/.test(state) && this.#connected) {
      this.#connected = false;
      this.#trigger("disconnect");
    }
  }

  #trigger(name, ...args) {
    for (const callback of this.#callbacks.get(name) || []) {
      try {
        callback?.(...args);
      } catch (error) {
        reportError(error);
      }
    }
  }
}
