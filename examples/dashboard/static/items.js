// A stream of items and events in an EventSource, as the page Items of the docs reads it.

export function connect(url, show, listeners) {
  const source = new EventSource(url);
  const items = new Map(), changed = new Set();
  let isWhole = false, frame = 0;

  const change = (name, value) => {
    if (value === undefined) items.delete(name);
    else items.set(name, value);
    changed.add(name);
    tell();
  };
  // One call for all changes that arrive together, and none while items are missing.
  const tell = () => {
    if (!isWhole) return;
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      if (isWhole) show(items, new Set(changed));
      changed.clear();
    });
  };

  const own = {
    "push:items": () => {
      isWhole = false;
      for (const name of items.keys()) changed.add(name);
      items.clear();
    },
    "push:whole": () => {
      isWhole = true;
      tell();
    },
    "push:unset": ({ item }) => change(item),
    message: (value, id) => change(id.split(".")[2], value),
  };
  for (const [type, callback] of Object.entries({ ...own, ...listeners }))
    source.addEventListener(type, ({ data, lastEventId }) => callback(JSON.parse(data), lastEventId));
  return source;
}
