// The stream has the newest value of each metric twice a second, and the alarms between them.

import { connect } from "../push/items.js";
import { draw } from "./plot.js";

const find = (selector) => document.querySelector(selector);
const tiles = new Map([...document.querySelectorAll("td button")].map((tile) => [tile.dataset.name, tile]));
const past = new Map([...tiles.keys()].map((name) => [name, []]));
const alarms = find("#alarms ol");
const MINUTE = 60_000;
let chosen = find("td button");

const { since, stream } = document.body.dataset;
const push = connect(stream, { since });
push.items("metrics", show);
push.subscribe("metrics").on("alarm", warn);
push.on("state", (state) => {
  find("#state").textContent = state === "open" ? "connected" : "reconnecting…";
  find("#state").classList.toggle("connected", state === "open");
});
// Alarms are missing: ask the view for the last ones.
push.on("gap", ({ wait }) => setTimeout(() => location.reload(), wait * 1000));

/** Called with all items, and with the names of those that have changed. */
function show(items, changed) {
  const now = Date.now();
  for (const name of changed) {
    const tile = tiles.get(name), value = items.get(name), points = past.get(name);
    if (!tile) continue;
    tile.querySelector("b").textContent = text(value, tile);
    tile.querySelector("meter").value = value ?? 0;
    tile.classList.toggle("high", isHigh(value, tile));
    // A value that does not change is not sent again.
    if (now - points.at(-1)?.time > 1000) points.push({ time: now, value: points.at(-1).value });
    points.push({ time: now, value });
    while (points[1]?.time < now - MINUTE) points.shift();
  }
  choose(chosen);
}

/** Show a tile's metric in the plot. */
function choose(tile) {
  chosen.setAttribute("aria-pressed", false);
  tile.setAttribute("aria-pressed", true);
  chosen = tile;
  const { name, title, unit, most } = tile.dataset, points = past.get(name), value = points.at(-1)?.value;
  find("#chosen").textContent = title;
  find("#value").textContent = value === undefined ? "–" : `${text(value, tile)} ${unit}`;
  find("#plot").classList.toggle("high", isHigh(value, tile));
  find("#most").textContent = Number(most).toLocaleString("en");
  draw(points, most);
}

function isHigh(value, tile) {
  return value > 0.9 * tile.dataset.most;
}

function text(value, tile) {
  const digits = tile.dataset.unit === "%" ? 1 : 0;
  return value?.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }) ?? "–";
}

function describe(item, { name, value, time }) {
  const tile = tiles.get(name);
  if (!tile) return item.remove();
  const { title, unit } = tile.dataset;
  const parts = { time: new Date(time * 1000).toLocaleTimeString("en-GB"), span: title, b: `${text(value, tile)} ${unit}` };
  for (const [tag, text] of Object.entries(parts)) item.appendChild(document.createElement(tag)).textContent = text;
}

function warn(alarm) {
  const item = document.createElement("li");
  alarms.prepend(item);
  describe(item, alarm);
  if (alarms.children.length > 20) alarms.lastChild.remove();
}

for (const tile of tiles.values()) tile.addEventListener("click", () => choose(tile));
setInterval(() => push.state === "open" && choose(chosen), 1000);
for (const item of [...alarms.children]) describe(item, JSON.parse(item.dataset.alarm));
choose(chosen);
