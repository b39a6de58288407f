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
