// The API that Juggernaut had for pages until 2012, on top of push.js.
import { connect, Listeners } from "./push.js";

// A page that needs both imports `connect` from here, so that there is one worker.
export { connect };

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
  #connected; // Undefined until the first connection.

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

  /** Sends a request to a view of your app. */
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
