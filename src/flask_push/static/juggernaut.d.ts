import type { Options } from "./push.js";

export { connect } from "./push.js";

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
