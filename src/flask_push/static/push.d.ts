/** An event with its channel. `id` is its position, a dot and the channel. */
export interface PushEvent<T = unknown> {
  type: string;
  data: T;
  id: string;
  channel: string;
  /** The item that was set or unset, if it is a change of one. */
  item?: string;
}

/** Events of these channels may be missing. Wait this many seconds, then fetch the data. */
export interface Gap {
  channels: string[];
  reason: "trimmed" | "restarted" | "unknown";
  wait: number;
}

/** The app ended the stream. push.js asks the view again, which may refuse it. */
export interface Disconnect {
  /** The text that the app gave as `reason=`, or an empty string. */
  reason: string;
}

export type State = "connecting" | "open" | "waiting" | "closed";

export interface Reason {
  /** The HTTP status, if the server refused the stream. */
  status?: number;
  /** More about the reason, such as the address of a redirect. */
  message?: string;
  /** The time of the next attempt, as `Date.now()` counts. */
  retryAt?: number;
  /** Whether it polls, because something on the way holds streams back. */
  polling?: boolean;
}

export interface Options {
  /**
   * The position of the data that the page shows: `push.position()` on the server, called
   * before the data is read. Subscriptions made before the connection is open begin there.
   */
  since?: string;
  /** How data is parsed. The default is "json". */
  parse?: "json" | "text";
  /** Share one connection among all pages of the browser. "lock" uses no SharedWorker. */
  share?: boolean | "lock";
  /** Pages with different keys share no connection. Use the user's id if users can change. */
  key?: string;
  /** Send cookies to another origin. */
  withCredentials?: boolean;
  /** "fetch" can send headers and use POST. The default is "eventsource". */
  transport?: "eventsource" | "fetch";
  headers?: Record<string, string>;
  method?: string;
  body?: string;
  /** Milliseconds: the first back-off, the longest, and how long the server may send nothing. */
  base?: number;
  cap?: number;
  silence?: number;
}

export interface Subscription<T = unknown> extends AsyncIterable<PushEvent<T>> {
  readonly channel: string;
  /** Calls back for each event of the type. Returns a function that ends this. */
  on(type: string, callback: (data: T, event: PushEvent<T>) => void): () => void;
  off(type: string, callback: (data: T, event: PushEvent<T>) => void): void;
  unsubscribe(): void;
}

export interface Push<Channels extends Record<string, any> = Record<string, any>> {
  readonly state: State;
  readonly reason: Reason;
  /** The connection's id, for `publish(exclude=)` on the server. Empty until it is open. */
  readonly id: string;
  subscribe<Name extends string & keyof Channels>(
    channel: Name,
    callback?: (data: Channels[Name], event: PushEvent<Channels[Name]>) => void,
    options?: {
      /** How data is parsed, if not as for the connection. */
      parse?: "json" | "text";
      /** The position after which it begins. Without one, it begins now. */
      since?: string;
    },
  ): Subscription<Channels[Name]>;
  /** All items of a channel, if `connect` is imported from items.js. */
  readonly items: unknown;
  on(name: "state", callback: (state: State, reason: Reason) => void): () => void;
  on(name: "gap", callback: (gap: Gap) => void): () => void;
  on(name: "disconnect", callback: (disconnect: Disconnect) => void): () => void;
  on(name: "error", callback: (error: Error, data?: string) => void): () => void;
  off(name: "state" | "gap" | "disconnect" | "error", callback: (...args: any[]) => void): void;
  close(): void;
}

export function connect<Channels extends Record<string, any> = Record<string, any>>(
  url: string | URL,
  options?: Options,
): Push<Channels>;
