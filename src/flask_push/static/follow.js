// Follows a run, such as an answer of a model or a job, to its end.
// When a connection ends before the run, a new one asks for the rest: its address has the
// position. An EventSource does not show why it was refused. A fetch does.
const OWN = ["open", "run", "progress", "gap", "disconnect", "heartbeat", "retry"];
const NAMES = ["status", "progress", "restart", "gap", "disconnect", "error"];
const ENDS = ["done", "failed", "stopped", "lost"];
// After these statuses a retry can't help.
const FINAL = /^(40[01345]|41[34]|431)$/;
const CAP = 3e4; // The longest back-off, in milliseconds.

// Some browsers never load a script again after it failed to load once.
const load = async () => (
  await import("./extras.js").catch(() => import(`./extras.js?${Date.now()}`))
).PushEventSource;

const known = (name, names) => {
  if (!names.includes(name)) throw new TypeError(`there is no ${name}`);
};

export const follow = (url, callback, {
  parse = "json", types = ["message"], withCredentials, headers, method, body, silence = 1e4, ...rest
} = {}) => {
  for (const name in rest) known(name, []);
  known(parse, ["json", "text"]);
  const address = new URL(url, globalThis.document?.baseURI || globalThis.location?.href);
  const options = { withCredentials, headers, method, body }, gone = new AbortController();
  const callbacks = new Map(NAMES.map((name) => [name, new Set()]));
  let id = "";
  let attempt; // Which run it is, and which attempt.
  let source;
  let timer = 0;
  let heard = 0; // When something last arrived, and the longest silence that is allowed.
  let patience;
  let floor = 500; // The server's retry.
  let tries = 0;
  let mute = 0;
  let polls;
  let resolve, reject;
  const ended = new Promise((...both) => [resolve, reject] = both);

  const call = (one, ...args) => {
    try {
      one(...args);
    } catch (error) {
      (globalThis.reportError || console.error)(error);
    }
  };

  /** Calls the callbacks. An error or a gap is written to the console if there are none. */
  const tell = (name, ...args) => {
    const all = [...callbacks.get(name)];
    for (const one of all) call(one, ...args);
    if (!all.length && /error|gap/.test(name)) console[name == "error" ? name : "warn"](name, ...args);
  };

  const drop = () => {
    clearTimeout(timer); // This also clears an interval.
    source?.close?.();
    source = null;
  };

  const close = () => {
    gone.abort();
    drop();
  };

  const finish = (settle, value) => {
    close();
    settle(value);
  };

  const addressed = () => {
    const asked = new URL(address), ask = (name, value) => value && asked.searchParams.set(name, value);
    ask("visible", 1);
    ask("poll", +!!polls);
    ask("last_event_id", id);
    return asked;
  };

  const open = () => {
    drop();
    heard = Date.now();
    patience = 0;
    timer = setInterval(look, 5e3);
    if (headers || method || body || !globalThis.EventSource) {
      // A placeholder until the script is loaded.
      const target = source = {};
      load().then(
        (Source) => target == source && begin(Source),
        () => failed({ target }),
      );
    } else begin(EventSource);
  };

  const begin = (Source) => {
    source = new Source(addressed(), options);
    source.onerror = failed;
    for (const type of [...types, ...OWN.map((name) => `push:${name}`)])
      source.addEventListener(type, hear);
  };

  /** Open another connection if this one can't be alive any more. */
  const look = () => {
    const silent = Date.now() - heard;
    if (silent < 0) heard = Date.now(); // The clock was set back.
    if (silent <= (patience || silence)) return;
    // A proxy may hold the answer back until it ends. Every second time, switch polling.
    if (!patience && !(mute ^= 1)) polls = !polls;
    open();
  };

  const hear = ({ target, type, data, lastEventId }) => {
    if (target != source) return;
    heard = Date.now();
    patience ||= 31e3;
    id = lastEventId || id;
    if (types.includes(type)) receive(type, data);
    else hearOwn(type.slice(5), JSON.parse(data));
  };

  const hearOwn = (name, said) => {
    if (name == "retry") floor = said.milliseconds || floor;
    else if (name == "heartbeat") patience = 2e3 * (said.seconds || 15) + 1e3;
    else if (name == "open") tries = mute = 0;
    else if (name == "run") {
      // The same run may begin again in a store that has lost it: in another epoch.
      const now = [id.split("-")[0], said.run, said.attempt].join();
      if (attempt && attempt != now) tell("restart", said);
      attempt = now;
      if (ENDS.includes(said.status)) finish(resolve, said);
      tell("status", said);
    } else tell(name, said);
  };

  const receive = (type, data) => {
    let value = data;
    try {
      if (parse == "json") value = JSON.parse(data);
    } catch (error) {
      tell("error", new SyntaxError(`not JSON: ${error.message}`), data);
      return;
    }
    if (callback) call(callback, value, { type, data: value, id });
  };

  const failed = async ({ target }) => {
    if (target != source) return;
    const { readyState, constructor, status, message } = target;
    let reason = { status, message };
    if (readyState == 2 && constructor == globalThis.EventSource) {
      const mine = source = {};
      reason = await ask();
      if (mine != source) return;
    }
    if (reason.status == 204) finish(resolve, null);
    else if (reason.message || FINAL.test(reason.status)) {
      const text = reason.message || `the view answered ${reason.status}`;
      finish(reject, Object.assign(new Error(text), { status: reason.status }));
    } else again(reason.wait || 0);
  };

  /** Why the view has refused. */
  const ask = async () => {
    try {
      const answer = await fetch(addressed(), {
        headers: { Accept: "text/event-stream" },
        credentials: withCredentials ? "include" : "same-origin",
        cache: "no-store",
        signal: gone.signal,
      });
      const { status, body, redirected, url } = answer;
      body?.cancel();
      const isStream = /^text\/event-stream\b/i.test(answer.headers.get("Content-Type"));
      const message = status != 200 || isStream ? ""
        : redirected ? `redirected to ${url}` : "the view returned no stream";
      return { status, message, wait: 1e3 * answer.headers.get("Retry-After") };
    } catch {
      return {}; // The network may be down.
    }
  };

  const again = (least) => {
    drop();
    const most = tries++ || !polls ? Math.min(CAP, 1e3 * 2 ** tries) : 0;
    timer = setTimeout(open, Math.max(floor, least, Math.random() * most));
  };

  // A page in the back-forward cache has no stream. It resumes when it is shown again.
  const { signal } = gone;
  globalThis.addEventListener?.("pagehide", drop, { signal });
  globalThis.addEventListener?.("pageshow", ({ persisted }) => persisted && open(), { signal });
  open();

  return {
    ended,
    close,
    on(name, callback) {
      known(name, NAMES);
      callbacks.get(name).add(callback);
      return () => callbacks.get(name).delete(callback);
    },
  };
};
