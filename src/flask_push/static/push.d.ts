/** What came, by which channel. `id` is its position, a dot and the channel. */
export interface PushEvent<T = unknown> {
  type: string;
  data: T;
  id: string;
  channel: string;
}

/** Events of these channels up to now are not coming. Wait so many seconds, and fetch. */
export interface Gap {
  channels: string[];
  reason: "trimmed" | "restarted" | "unknown";
  wait: number;
}

export type State = "connecting" | "open" | "waiting" | "closed";

export interface Reason {
  /** The HTTP status, if the server refused. */
  status?: number;
  /** What else there is to know, such as the page that it was redirected to. */
  message?: string;
  /** When the next attempt is, as of `Date.now()`. */
  retryAt?: number;
  /** Whether something on the way holds back a stream, so that it is asked again and again. */
  polling?: boolean;
}

export interface Options {
  /**
   * The position of what the page shows: `push.position()` on the server, read first. It is
   * where subscriptions begin that are made before the connection is open.
   */
  since?: string;
  /** What data is. The default is "json". */
  parse?: "json" | "text";
  /** Whether all pages of the browser have one connection; "lock" never takes a SharedWorker. */
  share?: boolean | "lock";
  /** Pages with different keys share nothing: the user's id, where users change. */
  key?: string;
  /** Send cookies to another origin. */
  withCredentials?: boolean;
  /** "fetch" for headers and POST; the default is "eventsource". */
  transport?: "eventsource" | "fetch";
  headers?: Record<string, string>;
  method?: string;
  body?: string;
  /** Milliseconds: the first back-off, the longest, and for how long nothing may come at all. */
  base?: number;
  cap?: number;
  silence?: number;
}

export interface Subscription<T = unknown> extends AsyncIterable<PushEvent<T>> {
  readonly channel: string;
  /** Call back for each event of the type. Returns what takes it back. */
  on(type: string, callback: (data: T, event: PushEvent<T>) => void): () => void;
  off(type: string, callback: (data: T, event: PushEvent<T>) => void): void;
  unsubscribe(): void;
}

export interface Push<Channels extends Record<string, any> = Record<string, any>> {
  readonly state: State;
  readonly reason: Reason;
  /** The connection, for `publish(exclude=)` on the server. Empty until it is open. */
  readonly id: string;
  subscribe<Name extends string & keyof Channels>(
    channel: Name,
    callback?: (data: Channels[Name], event: PushEvent<Channels[Name]>) => void,
    options?: {
      /** What the subscription's data is, if it is other than the connection's. */
      parse?: "json" | "text";
      /** The position that it begins after. Without one, it begins now. */
      since?: string;
    },
  ): Subscription<Channels[Name]>;
  on(name: "state", callback: (state: State, reason: Reason) => void): () => void;
  on(name: "gap", callback: (gap: Gap) => void): () => void;
  on(name: "error", callback: (error: Error, data?: string) => void): () => void;
  off(name: "state" | "gap" | "error", callback: (...args: any[]) => void): void;
  close(): void;
}

export function connect<Channels extends Record<string, any> = Record<string, any>>(
  url: string | URL,
  options?: Options,
): Push<Channels>;
