// All items of a channel, in a Map that is kept up to date.
// The server sends all items between push:items and push:whole, and then each change. Until
// all are there, they wait in another Map, so that no callback gets a part of them.
import { compare, connect, Listeners, Push, soon } from "./push.js";

// A page that needs both imports `connect` from here, so that there is one worker.
export { connect };

const same = (one, other) => JSON.stringify(one) == JSON.stringify(other);

/** How items are sent. presence.js has another kind. */
const ITEMS = {
  _list: "channels", // The field of push:items and push:whole that names the channel.
  _unset: "push:unset",
  _key: ({ item }) => item,
  _begin() {},
};

class Items {
  #items = new Map();
  #at = ""; // The position of the newest change, once all items have arrived.
  #next = null; // All items, while they arrive, and whether they have.
  #whole;
  #changed = new Set();
  #callbacks = new Set();
  #subscription;

  constructor(push, kind, channel, options, ended) {
    const { types = ["message"], parse = push.parse, ...rest } = options;
    const { _list, _unset, _key } = kind;
    const one = this.#subscription = push.subscribe(channel, null, { ...rest, parse });
    // All items come, wherever it begins.
    Object.assign(one, { parse: "text", _items: true, _live: false, _end: "", _made: 0 });
    for (const type of types) {
      one.on(type, (data, event) => {
        const key = _key(event);
        if (key === undefined) return; // An event of the channel.
        let value = data;
        try {
          if (parse == "json") value = JSON.parse(data);
        } catch (error) {
          // It is not what it was before, either.
          value = undefined;
          push._tell("error", new SyntaxError(`not JSON on ${channel}: ${error.message}`), data);
        }
        this.#change(event.id, key, value);
      });
    }
    one.on(_unset, (_, { id, item }) => this.#change(id, item));
    const on = (type, then) => one.on(type, (data, { id }) =>
      JSON.parse(data)[_list]?.includes(channel) && then(id));
    on("push:items", () => {
      this.#next = new Map();
      this.#whole = false;
    });
    on("push:whole", (id) => {
      this.#whole = true;
      this.#replace(id);
    });
    // The page leaves its line, and may miss some of them.
    one.on("push:reset", () => this.#next = null);
    one.on("push:end", () => {
      this.#callbacks.clear();
      ended();
    });
    kind._begin(one, push);
  }

  add(callback) {
    const one = new Listeners();
    one.on("items", callback);
    this.#callbacks.add(one);
    this.#tell();
    return () => {
      if (this.#callbacks.delete(one) && !this.#callbacks.size) this.#subscription.unsubscribe();
    };
  }

  #change(id, item, value) {
    if (this.#next) {
      put(this.#next, item, value);
      this.#replace(id);
    } else if (this.#at && !(compare(id, this.#at) <= 0)) {
      this.#at = id;
      this.#put(item, value);
    }
  }

  /** A hub may be behind the one before it. No item becomes older. */
  #replace(id) {
    const next = this.#next;
    if (!next || !this.#whole || compare(id, this.#at) < 0) return;
    this.#next = null;
    this.#at = id;
    for (const item of new Set([...this.#items.keys(), ...next.keys()]))
      if (!same(this.#items.get(item), next.get(item))) this.#put(item, next.get(item));
    this.#tell();
  }

  #put(item, value) {
    if (value === undefined && !this.#items.has(item)) return;
    put(this.#items, item, value);
    this.#changed.add(item);
    this.#tell();
  }

  #tell = soon(() => {
    const changed = this.#changed;
    this.#changed = new Set();
    for (const one of this.#callbacks) {
      if (one.begun ? changed.size : this.#at)
        one._call("items", this.#items, one.begun ? changed : new Set(this.#items.keys()));
      one.begun ||= this.#at;
    }
  });
}

const put = (items, item, value) => {
  if (value === undefined) items.delete(item);
  else items.set(item, value);
};

const all = new WeakMap(); // Of each connection, by what is asked for.

/** Calls back with all items of a kind. */
export const keep = (push, kind, channel, options, callback) => {
  if (!all.has(push)) all.set(push, new Map());
  const mine = all.get(push), key = JSON.stringify([kind._list, channel, options]);
  if (!mine.has(key))
    mine.set(key, new Items(push, kind, channel, options, () => mine.delete(key)));
  return mine.get(key).add(callback);
};

Push.prototype.items = function (channel, callback, options = {}) {
  return keep(this, ITEMS, channel, options, callback);
};
