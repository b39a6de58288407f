// The element <push-source>.
import { connect } from "./presence.js";
import { soon } from "./push.js";

// A page that needs both imports `connect` from here, so that there is one worker.
export { connect };

const words = (text) => text.match(/\S+/g) || [];
const ATTRIBUTES = words("src channels types since parse key items presence renew");

const { customElements: elements } = globalThis;
const define = () => elements.define("push-source", class extends HTMLElement {
  static observedAttributes = ATTRIBUTES;
  push = null;
  #how = "";
  #heard = new Set();

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
    const how = this.isConnected && src ? [src, since, parse, key].join("\n") : "";
    if (how != this.#how) {
      this.push?.close();
      this.#heard.clear();
      this.#how = how;
      const push = this.push = how ? connect(src, { since, parse, key }) : null;
      push?.on("state", (state, reason) => {
        this.setAttribute("state", state);
        this.#tell("push:state", { state, reason });
      });
      push?.on("gap", (gap) => this.#tell("push:gap", gap));
      push?.on("disconnect", (said) => this.#tell("push:disconnect", said));
      // With signed.js.
      if (this.hasAttribute("renew")) push?.on("expired", () => fetch(this.getAttribute("renew")));
      push?.on("error", (error, data) => this.#tell("push:error", { error, data }));
    }
    const [all, present] = ["items", "presence"].map((name) => this.hasAttribute(name));
    if (how) this.#listen(channels, words(types), all, present);
  });

  #listen(channels, types, all, present) {
    const wanted = new Set(words(channels)), how = `${types} ${all} ${present}`;
    for (const one of this.#heard) {
      if (one.how == how && wanted.delete(one.channel)) continue;
      one.unsubscribe();
      for (const end of one.ends) end();
      this.#heard.delete(one);
    }
    for (const channel of wanted) {
      const one = this.push.subscribe(channel);
      one.how = how;
      one.ends = [];
      this.#heard.add(one);
      for (const type of types) one.on(type, (_, event) => this.#tell(type, event));
      if (all) {
        const tell = (items, changed) => this.#tell("push:items", { channel, items, changed });
        one.ends.push(this.push.items(channel, tell, { types }));
      }
      if (present) {
        const tell = (members, change) =>
          this.#tell("push:presence", { channel, members, ...change });
        one.ends.push(this.push.presence(channel, tell));
      }
    }
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true }));
  }
});

// Workers have no elements.
if (elements && !elements.get("push-source")) define();
