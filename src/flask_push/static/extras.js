// Beside push.js: an EventSource that is a script, an element, and what Juggernaut had. push.js
// imports it where it needs the first.
import { connect, Listeners, soon } from "./push.js";

// A page that needs both takes `connect` from here, so that there is one worker.
export { connect };

// A header is bytes, and a script gives them as Latin-1.
const bytes = (text) => unescape(encodeURIComponent(text));

/** For what wants an `EventSource`, and for headers and POST: HTML, 9.2, on `fetch`. */
export class PushEventSource extends EventTarget {
  #url;
  #options;
  #state;
  #abort;
  #asked; // Where a redirect led.
  #id = "";
  #wait = 3e3;
  #timer;
  #on = {};
  #gone = new AbortController();

  static {
    const define = (on, name, what) =>
      Object.defineProperty(on, name, { enumerable: true, ...what });
    ["CONNECTING", "OPEN", "CLOSED"].forEach((name, value) => {
      define(this, name, { value });
      define(this.prototype, name, { value });
    });
    for (const name of ["url", "withCredentials", "readyState", "close"])
      define(this.prototype, name);
    for (const type of ["open", "message", "error"]) {
      define(this.prototype, "on" + type, {
        get() {
          return this.#on[type] || null;
        },
        set(callback) {
          if (!(type in this.#on))
            this.addEventListener(type, (event) => this.#on[type]?.call?.(this, event));
          this.#on[type] = Object(callback) === callback ? callback : null;
        },
        configurable: true,
      });
    }
  }

  constructor(url, options = {}) {
    super();
    if (!arguments.length) throw new TypeError("no URL");
    try {
      this.#asked = this.#url = new URL(url, self.document?.baseURI || location).href;
    } catch {
      throw new DOMException(`${url} is no URL`, "SyntaxError");
    }
    this.#options = options || {};
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
    return !!this.#options.withCredentials;
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
    this.#abort.abort();
  };

  #ask = async () => {
    const { headers, method, body } = this.#options, { signal } = this.#abort = new AbortController();
    let refused;
    this.#state = 0;
    try {
      refused = await this.#read(signal, await fetch(this.#asked, {
        headers: {
          Accept: "text/event-stream",
          ...this.#id && { "Last-Event-ID": bytes(this.#id) },
          ...headers,
        },
        credentials: this.withCredentials ? "include" : "same-origin",
        cache: "no-store",
        method, body, signal,
      }));
    } catch {
      // A refusal by CORS looks like a cut, but not to who doesn't want to read: ask, if it was
      // never otherwise. And there are addresses that no request can be for.
      const how = { method: "HEAD", mode: "no-cors" };
      if (this.status != 200) refused = !/^http/.test(this.#asked)
        || (await fetch(this.#asked, how).catch(() => how)).type == "opaque";
    }
    if (signal.aborted) return;
    if (refused || this.message) this.close();
    else this.#state = 0;
    this.dispatchEvent(new Event("error"));
    if (this.#state == 0) this.#timer = setTimeout(this.#ask, this.#wait);
  };

  async #read(signal, { status, url, headers, body }) {
    this.status = status;
    const stream = /^text\/event-stream\s*(;|$)/i.test(headers.get("Content-Type"));
    if (status != 200 || !stream) return true;
    this.#asked = url;
    this.#state = 1;
    this.dispatchEvent(new Event("open"));
    const { origin } = new URL(url);
    let cr, rest = "", type = "", data = "", lastEventId = this.#id;
    const write = (text) => {
      // A CR ends its line at once, and an LF after it none.
      const lines = text.slice(cr && text[0] == "\n").split(/\r\n?|\n/);
      cr = text.at(-1) == "\r";
      lines[0] = rest + lines[0];
      rest = lines.pop();
      // What is not ours may never end.
      if (rest.length + data.length > 2 ** 24) throw this.message = "an event is too long";
      for (const line of lines) {
        const [, field, value] = /^([^:]*):? ?([^]*)$/.exec(line);
        if (signal.aborted) return;
        if (field == "event") type = value;
        else if (field == "data") data += value + "\n";
        else if (field == "id" && !/\0/.test(value)) lastEventId = value;
        else if (field == "retry" && /^\d+$/.test(value)) {
          // A timer that is set to more than that goes off at once.
          this.#wait = Math.min(value, 2 ** 31 - 1);
        } else if (!line) {
          this.#id = lastEventId;
          const event = { data: data.slice(0, -1), lastEventId, origin };
          if (data) this.dispatchEvent(new MessageEvent(type || "message", event));
          type = data = "";
        }
      }
    };
    await body.pipeThrough(new TextDecoderStream()).pipeTo(new WritableStream({ write }));
  }
}

const ATTRIBUTES = ["src", "channels", "types", "since", "parse", "key"];
const words = (text) => text.match(/\S+/g) || [];

const define = () => customElements.define("push-source", class extends HTMLElement {
  static observedAttributes = ATTRIBUTES;
  push = null;
  #how = "";
  #heard = new Map();

  connectedCallback() {
    this.#settle();
  }

  disconnectedCallback() {
    this.#settle();
  }

  attributeChangedCallback() {
    this.#settle();
  }

  /** An element that is moved keeps its connection. */
  #settle = soon(() => {
    const [src, channels = "", types = "message", since, parse, key] = ATTRIBUTES.map(
      (name) => this.getAttribute(name) || undefined,
    );
    const how = this.isConnected && src ? JSON.stringify([src, since, parse, key]) : "";
    if (how != this.#how) {
      this.push?.close();
      this.#heard.clear();
      this.#how = how;
      this.push = how ? connect(src, { since, parse, key }) : null;
      this.push?.on("state", (state, reason) => {
        this.setAttribute("state", state);
        this.#tell("push:state", { state, reason });
      });
      this.push?.on("gap", (gap) => this.#tell("push:gap", gap));
      this.push?.on("error", (error, data) => this.#tell("push:error", { error, data }));
    }
    if (how) this.#listen(channels, types);
  });

  #listen(channels, types) {
    const wanted = new Set(words(channels));
    for (const [name, { types: had, subscription }] of this.#heard) {
      if (had == types && wanted.delete(name)) continue;
      subscription.unsubscribe();
      this.#heard.delete(name);
    }
    for (const name of wanted) {
      const subscription = this.push.subscribe(name);
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
export class Juggernaut extends Listeners {
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
  #connected; // Not yet.

  constructor(given = {}) {
    super();
    const { url = "/stream", write = "/write", host, port, secure, meta, ...options } = given;
    const server = `http${secure ? "s" : ""}://${host || location.hostname}:${port || 8080}`;
    const base = host || port ? server : document.baseURI;
    this.meta = meta;
    this.#write = [new URL(write, base), options.withCredentials ? "include" : "same-origin"];
    this.#push = connect(new URL(url, base), options);
    this.#push.on("state", this.#changed);
    for (const name of ["gap", "error"])
      this.#push.on(name, (...args) => this._call(name, ...args));
  }

  bind(name, callback) {
    this.on(name, callback);
  }

  unbind(name) {
    this.off(name);
  }

  subscribe(channel, callback) {
    if (!this.#subscriptions.has(channel)) {
      const subscription = this.#push.subscribe(channel, (data, { id }) => {
        this._call("message", new Juggernaut.Message({ channel, data, id }));
        this._call("data", channel, data);
        this._call(`${channel}:data`, data);
      });
      this.#subscriptions.set(channel, subscription);
    }
    if (callback) this.on(`${channel}:data`, callback);
  }

  unsubscribe(channel) {
    this.off(`${channel}:data`);
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

  #changed = (state) => {
    this.sessionID = this.#push.id;
    const connected = state == "open";
    if (state == "connecting" || connected == !!this.#connected) return;
    this._call(connected ? "connect" : "disconnect");
    if (connected && this.#connected == false) this._call("reconnect");
    this.#connected = connected;
  };
}
