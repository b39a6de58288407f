import type { Options, Push } from "./push.js";

export interface ItemsOptions {
  /** The types with which the channel's items are set. The default is `["message"]`. */
  types?: string[];
  /** How data is parsed, if not as for the connection. */
  parse?: "json" | "text";
}

export type ItemsCallback<T = unknown> = (
  items: ReadonlyMap<string, T>,
  changed: ReadonlySet<string>,
) => void;

export interface ItemsPush<Channels extends Record<string, any> = Record<string, any>>
  extends Push<Channels> {
  /**
   * Calls back with all items of a channel when they have arrived, and then with each change.
   * The Map stays the same one. `changed` has the names of the items that were set or unset.
   * Returns a function that ends this.
   */
  items<Name extends string & keyof Channels>(
    channel: Name,
    callback: ItemsCallback<Channels[Name]>,
    options?: ItemsOptions,
  ): () => void;
  items<T>(
    channel: string & keyof Channels,
    callback: ItemsCallback<T>,
    options?: ItemsOptions,
  ): () => void;
}

export function connect<Channels extends Record<string, any> = Record<string, any>>(
  url: string | URL,
  options?: Options,
): ItemsPush<Channels>;
