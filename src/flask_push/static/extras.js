// An EventSource as a script. push.js imports this file if it needs it.
import { connect, Listeners } from "./push.js";

// A page that needs both imports `connect` from here, so that there is one worker.
export { connect };

const originOf = (url) => new URL(url).origin;
const isStream = ({ headers }) =>
  /^text\/event-stream\s*(;|$)/i.test(headers.get("Content-Type"));

/** An `EventSource` on `fetch` (HTML, 9.2), which can send headers and use POST. */
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
    // Without arguments, this throws the right TypeError.
    arguments.length || new URL();
    try {
      this.#asked = this.#url = new URL(url, globalThis.document?.baseURI || globalThis.location).href;
    } catch {
      throw new DOMException(url, "SyntaxError");
    }
    this.#options = options || {};
    // Some servers refuse a long address, so push.js asks for many channels in the body.
    if (options?.posts) {
      const short = new URL(this.#url), body = new URLSearchParams(), { searchParams } = short;
      for (const name of searchParams.getAll("channel")) body.append("channel", name);
      searchParams.delete("channel");
      this.#asked = this.#url = short.href;
      this.#options = { ...options, method: "POST", body };
    }
    // A page in the back-forward cache has no stream. It resumes when it is shown again.
    const { signal } = this.#gone, listen = globalThis.addEventListener;
    listen?.("pagehide", this.#drop, { signal });
    listen?.("pageshow", ({ persisted }) => persisted && this.#ask(), { signal });
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
    const { signal } = this.#abort = new AbortController();
    let refused;
    this.#state = 0;
    try {
      refused = await this.#read(signal, await this.#fetch(signal));
    } catch {
      // To a script, a refusal by CORS looks like a lost connection. A request without CORS
      // shows the difference, so make one if no request has succeeded. Some addresses can't
      // be requested at all.
      const how = { method: "HEAD", mode: "no-cors" };
      if (this.status != 200) {
        refused = !/^http/.test(this.#asked)
          || (await fetch(this.#asked, how).catch(() => how)).type == "opaque";
        if (refused && originOf(this.#asked) == globalThis.origin)
          this.message = "redirected";
      }
    }
    if (signal.aborted) return;
    if (refused || this.message) this.close();
    else this.#state = 0;
    this.dispatchEvent(new Event("error"));
    if (this.#state == 0) this.#timer = setTimeout(this.#ask, this.#wait);
  };

  async #fetch(signal) {
    const { headers, method, body } = this.#options;
    const ask = (own) => fetch(this.#asked, {
      credentials: this.withCredentials ? "include" : "same-origin",
      cache: "no-store",
      signal,
      ...own,
      headers: {
        Accept: "text/event-stream",
        // Headers are bytes, which scripts pass as Latin-1.
        ...this.#id && { "Last-Event-ID": unescape(encodeURIComponent(this.#id)) },
        ...own.headers,
      },
    });
    if (!(headers || method || body)) return ask({});
    // These are only for the origin of the address: a redirect must not carry them away.
    const own = { headers, method, body, redirect: "error" };
    try {
      return await ask(own);
    } catch (error) {
      const answer = await ask({}), { url } = answer;
      if (originOf(url) != originOf(this.#url) || answer.ok && !isStream(answer)) return answer;
      answer.body?.cancel();
      if (!answer.redirected) throw error;
      this.#asked = url;
      return ask(own);
    }
  }

  async #read(signal, answer) {
    const { status, url, redirected, body } = answer;
    this.status = status;
    if (status != 200 || !isStream(answer)) {
      if (status == 405) this.message = 'the view needs methods=["GET", "POST"]';
      else if (status == 200 && redirected) this.message = `redirected to ${url}`;
      return true;
    }
    const origin = originOf(url);
    if (origin == originOf(this.#url)) this.#asked = url;
    this.#state = 1;
    this.dispatchEvent(new Event("open"));
    let cr, rest = "", type = "", data = "", lastEventId = this.#id;
    const write = (text) => {
      // A CR ends its line at once, and an LF after it is ignored.
      const lines = text.slice(cr && text[0] == "\n").split(/\r\n?|\n/);
      cr = text.at(-1) == "\r";
      lines[0] = rest + lines[0];
      rest = lines.pop();
      // An event of another server may never end.
      if (rest.length + data.length > 16e6) throw this.message = "an event is too long";
      for (const line of lines) {
        const [, field, value] = /^([^:]*):? ?([^]*)$/.exec(line);
        if (signal.aborted) return;
        if (field == "event") type = value;
        else if (field == "data") data += value + "\n";
        else if (field == "id" && !/\0/.test(value)) lastEventId = value;
        else if (field == "retry" && /^\d+$/.test(value)) {
          // A timer with a longer time would fire at once.
          this.#wait = Math.min(value, 2e9);
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

// For places where a script can't import later, such as a service worker.
Listeners.Source = PushEventSource;
