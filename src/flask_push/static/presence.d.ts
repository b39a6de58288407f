import type { ItemsPush } from "./items.js";
import type { Options } from "./push.js";

export interface Member<Info = unknown> {
  user: string;
  /** What the view showed of the user with `present=`. */
  info: Info;
}

export interface PresenceChange<Info = unknown> {
  /** The members that were not there at the last call. */
  joined: Member<Info>[];
  /** The members that are no longer there. */
  left: Member<Info>[];
  /** How many users are there: all members, and those that are only counted. */
  count: number;
}

export type PresenceCallback<Info = unknown> = (
  members: ReadonlyMap<string, Member<Info>>,
  change: PresenceChange<Info>,
) => void;

export interface PresencePush<Channels extends Record<string, any> = Record<string, any>>
  extends ItemsPush<Channels> {
  /**
   * Calls back with all members of a channel when they have arrived, and then with each change.
   * In the first call, `joined` and `left` are empty. The Map stays the same one.
   * Returns a function that ends this.
   */
  presence<Info = any>(
    channel: string & keyof Channels,
    callback: PresenceCallback<Info>,
  ): () => void;
}

export function connect<Channels extends Record<string, any> = Record<string, any>>(
  url: string | URL,
  options?: Options,
): PresencePush<Channels>;
