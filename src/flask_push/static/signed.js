// Another address for a connection whose signed address is no longer valid.
// The server says so with push:expired, or with the status 410.
import { connect, Listeners, Push } from "./push.js";

// A page that needs both imports `connect` from here, so that there is one worker.
export { connect };

const { on } = Push.prototype;

/** The subscriptions go on at another address, each at its position. */
const move = ({ _given: given, _wake }, url) => {
  const next = new URL(url, globalThis.document?.baseURI || globalThis.location).href;
  // As when a page is hidden and shown again.
  _wake({ type: "pagehide" });
  given[2] = given[2].replace(given[0], () => next);
  given[0] = next;
  _wake({ persisted: true });
};

/** What the callback has returned, as an address. */
const addressIn = async (answer) => {
  if (!answer?.text) return answer;
  const { status, ok, redirected } = answer;
  if (status >= 500) throw new Error(`no new address: the status is ${status}`);
  // Where an app redirects to a login page, there is no address.
  return ok && !redirected && answer.text();
};

Push.prototype.on = function (name, callback) {
  if (name != "expired") return on.call(this, name, callback);
  const { base, cap } = this._link._given[1];
  let asks = false;
  let tries = 0;
  const ask = async () => {
    if (asks) return;
    asks = true;
    do {
      // The app may be out of reach, or each new address be refused.
      const wait = tries && Math.random() * Math.min(cap, base * 2 ** tries);
      tries++;
      if (wait) await new Promise((done) => setTimeout(done, wait));
      try {
        const url = asks && await addressIn(await callback());
        if (asks && url) move(this._link, url);
        else if (asks) this._tell("error", new Error("there is no new address"));
        asks = false;
      } catch (error) {
        this._tell("error", error);
      }
    } while (asks);
  };
  const ends = [
    Listeners.prototype.on.call(this, name, ask),
    on.call(this, "state", (state, { status }) => {
      if (state == "open") tries = 0;
      if (state == "closed" && status == 410) ask();
      else if (state == "closed") asks = false;
    }),
  ];
  return () => {
    asks = false;
    for (const end of ends) end();
  };
};
