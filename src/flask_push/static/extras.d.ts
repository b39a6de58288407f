import type { Disconnect, Gap, Push, Reason, State } from "./push.js";

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
    "push:disconnect": CustomEvent<Disconnect>;
    "push:error": CustomEvent<{ error: Error; data?: string }>;
  }
}
