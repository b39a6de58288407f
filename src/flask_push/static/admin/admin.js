// The admin page. It is a page of items: each hub is an item of the channel "push:hubs",
// and changes every five seconds. All text is set as text, and none as HTML.
import { connect } from "./items.js";

const SVG = "http://www.w3.org/2000/svg";
const POINTS = 60; // Five minutes.
const $ = (id) => document.getElementById(id);
const hubs = new Map(); // By name: what it says, when it came, and what changed a second.
const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const shown = (value) => (value < 1e4 ? whole : short).format(value < 10 ? +value.toFixed(1) : Math.round(value));

// Figures.

const of = (figures, name) => figures[name] || 0;
/** The sum over all labels of a counter. */
const all = (figures, name) => {
  let sum = of(figures, name);
  for (const key in figures) if (key.startsWith(`${name}:`)) sum += figures[key];
  return sum;
};
const total = (take) => [...hubs.values()].reduce((sum, hub) => sum + take(hub), 0);
const gauge = (name) => () => total((hub) => of(hub.figures, name));
const rate = (name) => () => total((hub) => hub.rates?.(name) || 0);

/** In milliseconds, what 99 of 100 events since the last figures took at most. */
const lag = () => {
  const buckets = new Map();
  for (const { figures, before } of hubs.values())
    for (const key in before ? figures : {}) {
      const [name, bound] = key.split(":");
      if (name != "publish_to_write_seconds" || bound == "sum") continue;
      const count = figures[key] - of(before, key);
      if (count > 0) buckets.set(bound, (buckets.get(bound) || 0) + count);
    }
  const sorted = [...buckets].map(([bound, count]) => [bound == "inf" ? Infinity : +bound / 1000, count]);
  sorted.sort(([one], [other]) => one - other);
  let left = sorted.reduce((sum, [, count]) => sum + count, 0) * 0.99;
  for (const [bound, count] of sorted) if ((left -= count) <= 0) return Math.min(bound, 10000);
  return 0;
};

const TILES = [
  ["Streams", gauge("streams"), ""],
  ["Users", gauge("users"), ""],
  ["Behind", gauge("streams_behind"), ""],
  ["Events", rate("events"), "/s"],
  ["Sends", rate("sends"), "/s"],
  ["Bytes", rate("sent_bytes"), "/s"],
  ["Opened", rate("streams_opened"), "/s"],
  ["Publish to write (p99)", lag, " ms"],
].map(([title, take, unit]) => {
  const tile = make("figure", { className: "tile" });
  const value = make("b", {}, "–");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const [area, line] = ["polygon", "polyline"].map((name) => svg.appendChild(document.createElementNS(SVG, name)));
  tile.append(make("figcaption", {}, title), value, svg);
  tile.title = `${title}: the last five minutes`;
  $("tiles").append(tile);
  return { take, unit, value, svg, area, line, points: [] };
});

/** A function and no arrow: it is needed above. */
function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** At first, a minute fills the width. */
const plot = ({ points, svg, area, line }) => {
  const most = Math.max(...points, 1e-9), end = Math.max(points.length, 12) - 1;
  const first = end + 1 - points.length;
  const places = points.map((value, n) => `${first + n},${(34 - 31 * value / most).toFixed(2)}`);
  svg.setAttribute("viewBox", `0 0 ${end} 36`);
  line.setAttribute("points", places.join(" "));
  area.setAttribute("points", `${first},36 ${places.join(" ")} ${end},36`);
};

const sample = () => {
  for (const tile of TILES) {
    tile.points = [...tile.points, tile.take()].slice(-POINTS);
    plot(tile);
  }
  draw();
};

const draw = () => {
  for (const { take, unit, value } of TILES) value.textContent = shown(take()) + unit;
  const rows = [...hubs.values()].sort((one, other) => one.host.localeCompare(other.host) || one.pid - other.pid);
  fill("hubs", rows, ({ host, pid, version, figures, rates }) => [
    host, `${pid}`, version,
    ...["streams", "streams_behind", "users", "channels"].map((name) => number(of(figures, name))),
    number(rates ? rates("events") : 0),
    // Microseconds in a second.
    count(rates ? `${(rates("hub_cpu_seconds") / 1e4).toFixed(0)} %` : "–"),
  ], "No hub has stored figures in the last 20 seconds.");
  const counts = [];
  for (const [title, name, always] of COUNTS) {
    const sums = new Map(Object.keys(always).map((label) => [label, 0]));
    for (const { figures } of hubs.values())
      for (const key in figures) {
        const [family, label] = key.split(":");
        if (family == name) sums.set(label, (sums.get(label) || 0) + figures[key]);
      }
    for (const [label, sum] of sums) counts.push([title, always[label] || label.replace("_", " "), number(sum)]);
  }
  fill("counts", counts, (row) => row, "Nothing yet.");
};
// A count that should be 0 is shown when it is.
const COUNTS = [
  ["Gaps", "gaps", { trimmed: "trimmed", restarted: "restarted", unknown: "unknown" }],
  ["Refused", "streams_refused", {
    streams: "PUSH_MAX_STREAMS", user: "PUSH_MAX_STREAMS_PER_USER",
    address: "PUSH_MAX_STREAMS_PER_ADDRESS", descriptors: "file descriptors",
  }],
  ["Ended", "streams_ended", {}], ["Opened", "streams_opened", {}],
];

// Tables.

const count = (text) => make("td", { className: "n" }, text);
const number = (value) => count(shown(value));

const fill = (id, rows, cells, none) => {
  const body = $(id).tBodies[0];
  const focused = body.contains(document.activeElement) && document.activeElement.dataset.ends;
  body.replaceChildren(...rows.map((row) => make("tr", {}, ...cells(row).map(
    (cell) => cell instanceof Node ? cell : make("td", {}, cell),
  ))));
  if (!rows.length)
    body.append(make("tr", {}, make("td", { className: "none", colSpan: $(id).tHead.rows[0].cells.length }, none)));
  if (focused) [...body.querySelectorAll("button")].find((one) => one.dataset.ends == focused)?.focus();
};

/** The channel of pages like this one is no channel of the app's. */
const named = (name) => name == "push:hubs" ? "push:hubs (admin pages)" : name;

const span = (seconds) => {
  for (const [unit, size, smaller, part] of [["d", 86400, "h", 3600], ["h", 3600, "m", 60], ["m", 60, "s", 1]])
    if (seconds >= size) return `${Math.floor(seconds / size)}${unit} ${Math.floor(seconds % size / part)}${smaller}`;
  return `${seconds}s`;
};

// Lists of this machine. They come from its hubs when they are asked.

const search = $("search");
let asks = 0;

const list = async () => {
  if (document.hidden) return;
  const query = new URLSearchParams(new FormData(search)), mine = ++asks;
  let found;
  try {
    const answer = await fetch(`lists?${query}`, { headers: { Accept: "application/json" } });
    if (!answer.ok || answer.redirected) throw Error(
      answer.redirected || answer.status < 500 ? "You may no longer see this page. Reload it." : "The lists could not be read.",
    );
    found = await answer.json();
  } catch (error) {
    found = { problems: [error.message] };
  }
  // A newer search may have been answered already.
  if (mine != asks) return;
  const problems = found.problems.map((text) => make("li", {}, text));
  $("problems").replaceChildren(...problems);
  $("problems").hidden = !problems.length;
  if (!found.streams) return;
  fill("streams", found.streams, (one) => {
    const ends = make("td");
    if (!one.cut && one.user != null) ends.append(ender("User", { user: one.user }, `all streams of the user “${one.user}”`));
    if (!one.cut && one.session) ends.append(ender("Session", { session_of: one.id }, `the streams of one session${one.user == null ? "" : ` of the user “${one.user}”`}`));
    const names = one.channels.join(", ") + (one.more ? ` and ${one.more} more` : "");
    return [
      one.user ?? make("td", { className: "none" }, "–"), ends, named(names), count(span(one.seconds)),
      one.place, one.poll ? `${one.held}, poll` : one.held,
    ];
  }, "No stream is open here, or none that matches.");
  $("more").textContent = found.more ? `and ${whole.format(found.more)} more` : "";
  fill("channels", found.channels, ([name, readers]) => {
    const own = name.startsWith("push:"), end = make("td");
    if (!own) end.append(ender("Channel", { channel: name }, `all streams that have the channel “${name}”`));
    return [named(name), end, number(readers)];
  }, "No channel has readers.");
  fill("runs", found.runs, (run) => [run.channel, run.key || "–", run.status, number(run.attempt)], "No run is active.");
};

search.addEventListener("submit", (event) => {
  event.preventDefault();
  list();
});

// The end of streams.

const ender = (title, body, what) => {
  const button = make("button", { type: "button", onclick: () => confirm(body, what) }, title);
  button.setAttribute("aria-label", `End ${what}`);
  button.dataset.ends = JSON.stringify(body);
  return button;
};

const confirm = (body, what) => {
  const dialog = $("confirm"), form = dialog.querySelector("form");
  form.reset();
  $("what").textContent = `This ends ${what}, on all machines.`;
  dialog.returnValue = "";
  dialog.onclose = () => dialog.returnValue && end({ ...body, reason: form.elements.reason.value }, what);
  dialog.showModal();
};

const end = async (body, what) => {
  let text;
  try {
    const headers = { "Content-Type": "application/json", "X-Push-Admin": "1" };
    const token = document.querySelector("meta[name=csrf-token]").content;
    if (token) headers["X-CSRFToken"] = token;
    const answer = await fetch("disconnect", { method: "POST", headers, body: JSON.stringify(body) });
    const found = await answer.json().catch(() => ({}));
    text = answer.ok && found.position ? `Ended ${what}.` : `Nothing was ended. ${found.problem || `The answer was ${answer.status}.`}`;
  } catch {
    text = "The answer did not arrive, so it is not known whether streams were ended.";
  }
  $("done").textContent = text;
  $("done").hidden = false;
  setTimeout(list, 300);
};

// The page's own stream.

const push = connect("stream", { share: false });
push.items("push:hubs", (items, changed) => {
  for (const name of changed) {
    const value = items.get(name), old = hubs.get(name);
    if (!value) {
      hubs.delete(name);
      continue;
    }
    const now = performance.now(), before = old?.figures, figures = value.figures || {};
    const seconds = old && (now - old.now) / 1000;
    hubs.set(name, {
      ...value, now, figures, before,
      rates: old && ((counter) => Math.max(0, all(figures, counter) - all(before, counter)) / Math.max(seconds, 1)),
    });
  }
  draw();
});
const STATES = {
  open: "Live", connecting: "Connecting…", waiting: "The connection is lost. It is tried again.",
  closed: "The connection is closed. Reload the page.",
};
push.on("state", (state) => {
  const text = STATES[state] || state;
  if ($("connection").textContent != text) $("connection").textContent = text;
});

setInterval(sample, 5000);
setInterval(list, 5000);
document.addEventListener("visibilitychange", list);
list();
draw();
setTimeout(sample, 1500);
