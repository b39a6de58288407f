import type { Member, PresenceChange, PresencePush } from "./presence.js";
import type { Disconnect, Gap, Reason, State } from "./push.js";

export { connect } from "./presence.js";

/** What a `push:items` event of `<push-source items>` has in its `detail`. */
export interface ItemsChange<T = unknown> {
  channel: string;
  items: ReadonlyMap<string, T>;
  changed: ReadonlySet<string>;
}

/** What a `push:presence` event of `<push-source presence>` has in its `detail`. */
export interface ElementPresence<Info = any> extends PresenceChange<Info> {
  channel: string;
  members: ReadonlyMap<string, Member<Info>>;
}

/** `<push-source src="/stream" channels="chat news" types="message said">` */
export interface PushSourceElement extends HTMLElement {
  /** Null while the element is in no document, or has no `src`. */
  readonly push: PresencePush | null;
}

declare global {
  interface HTMLElementTagNameMap {
    "push-source": PushSourceElement;
  }
  interface HTMLElementEventMap {
    "push:state": CustomEvent<{ state: State; reason: Reason }>;
    "push:items": CustomEvent<ItemsChange>;
    "push:presence": CustomEvent<ElementPresence>;
    "push:gap": CustomEvent<Gap>;
    "push:disconnect": CustomEvent<Disconnect>;
    "push:error": CustomEvent<{ error: Error; data?: string }>;
  }
}
