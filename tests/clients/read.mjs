// Reads a stream with one library, and prints each event it gives as a line of JSON:
// read.mjs LIBRARY URL. All of these libraries come back by themselves.

const say = (type, data, id) =>
  console.log(JSON.stringify([type ?? null, data, id]));

const listen = (source) => {
  for (const type of ["message", "said", "push:open", "push:gap"])
    source.addEventListener(type, (e) => say(e.type, e.data, e.lastEventId));
};

const libraries = {
  async eventsource(url) {
    const { EventSource } = await import("eventsource");
    listen(new EventSource(url));
  },

  async "event-source-polyfill"(url) {
    const { EventSourcePolyfill } = (await import("event-source-polyfill"))
      .default;
    listen(new EventSourcePolyfill(url));
  },

  // A proxy that answers 502 while the server is away ends an EventSource for good;
  // that is when this library makes a new one, with the id in the query.
  async "reconnecting-eventsource"(url) {
    const { EventSource } = await import("eventsource");
    const { default: ReconnectingEventSource } = await import(
      "reconnecting-eventsource"
    );
    listen(
      new ReconnectingEventSource(url, {
        eventSourceClass: EventSource,
        max_retry_time: 1000,
        fetch: (...args) =>
          fetch(...args).catch(() => new Response(null, { status: 502 })),
      }),
    );
  },

  async "eventsource-client"(url) {
    const { createEventSource } = await import("eventsource-client");
    for await (const { event, data, id } of createEventSource(url))
      say(event, data, id);
  },

  // Reconnects after errors only, so the end of a stream is made one.
  async "@microsoft/fetch-event-source"(url) {
    globalThis.window = globalThis;
    const { fetchEventSource } = await import("@microsoft/fetch-event-source");
    await fetchEventSource(url, {
      openWhenHidden: true,
      onmessage: ({ event, data, id }) => say(event, data, id),
      onclose: () => {
        throw new Error("ended");
      },
    });
  },

  // Needs an XMLHttpRequest whose text grows while it is read. That of xhr2 does not.
  async "sse.js"(url) {
    const { JSDOM } = await import("jsdom");
    globalThis.XMLHttpRequest = new JSDOM("", { url }).window.XMLHttpRequest;
    const { SSE } = await import("sse.js");
    listen(new SSE(url, { autoReconnect: true }));
  },
};

const [library, url] = process.argv.slice(2);
await libraries[library](url);
