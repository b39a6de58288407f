import type { Gap, Options, Push, Reason, State } from "./push.js";

export { connect } from "./push.js";

export interface PushEventSourceOptions extends EventSourceInit {
  headers?: Record<string, string>;
  method?: string;
  body?: string;
}

/** An `EventSource` on `fetch`. */
export interface PushEventSource extends EventSource {
  /** Of the last answer. */
  readonly status?: number;
  /** Why it has ended, if it wasn't refused. */
  readonly message?: string;
}
export const PushEventSource: {
  prototype: PushEventSource;
  new (url: string | URL, options?: PushEventSourceOptions): PushEventSource;
  readonly CONNECTING: 0;
  readonly OPEN: 1;
  readonly CLOSED: 2;
};

/** `<push-source src="/stream" channels="chat news" types="message said">` */
export interface PushSourceElement extends HTMLElement {
  /** Null while the element is in no document, or has no `src`. */
  readonly push: Push | null;
}

declare global {
  interface HTMLElementTagNameMap {
    "push-source": PushSourceElement;
  }
  interface HTMLElementEventMap {
    "push:state": CustomEvent<{ state: State; reason: Reason }>;
    "push:gap": CustomEvent<Gap>;
    "push:error": CustomEvent<{ error: Error; data?: string }>;
  }
}

/** What came, as Juggernaut called it. */
export interface JuggernautMessage {
  toJSON(): string;
  [field: string]: any;
}

export interface JuggernautOptions extends Options {
  /** The view that returns the stream. The default is "/stream". */
  url?: string;
  /** The view that `write` asks. The default is "/write". */
  write?: string;
  host?: string;
  port?: number | string;
  secure?: boolean;
  meta?: unknown;
}

export class Juggernaut {
  static Message: {
    new (fields: object): JuggernautMessage;
    fromJSON(json: string): JuggernautMessage;
  };
  constructor(options?: JuggernautOptions);
  /** The connection, for `publish(exclude=)` on the server. Empty until it is open. */
  readonly sessionID: string;
  meta: unknown;
  on(name: string, callback: (...args: any[]) => void): void;
  bind(name: string, callback: (...args: any[]) => void): void;
  unbind(name: string): void;
  subscribe(channel: string, callback?: (data: any) => void): void;
  unsubscribe(channel: string): void;
  write(message: object): Promise<Response>;
}
