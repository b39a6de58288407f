import type { Options, Push } from "./push.js";

/** A new address; or the answer to a `fetch`, whose text is one. */
export type NewAddress = string | URL | Response | null | undefined | false;

export type SignedPush<Channels extends Record<string, any> = Record<string, any>> =
  Push<Channels> & {
    /**
     * Calls back when the signed address is no longer valid, and goes on at the one that the
     * callback returns. Without one, the connection is closed. If the callback fails, it is
     * called again. Returns a function that ends this.
     */
    on(name: "expired", callback: () => NewAddress | Promise<NewAddress>): () => void;
  };

export function connect<Channels extends Record<string, any> = Record<string, any>>(
  url: string | URL,
  options?: Options,
): SignedPush<Channels>;
