/** A status of a run, and which run it is. */
export interface RunStatus {
  /** The id of the run: `run.id` on the server. */
  run: string;
  /** The key that the app has given it, or an empty string. */
  key: string;
  status: "queued" | "running" | "stopping" | "done" | "failed" | "stopped" | "lost";
  /** 1, and one more each time that the run begins again after it failed or was lost. */
  attempt: number;
  /** What the app says about a failure: the text of `run.fail`. */
  text: string;
}

/** How a run has ended. */
export interface End extends RunStatus {
  status: "done" | "failed" | "stopped" | "lost";
}

export interface Progress {
  done: number;
  total: number | null;
  text: string;
}

/** An event that the app has written. `id` is its position. */
export interface RunEvent<T = unknown> {
  type: string;
  data: T;
  id: string;
}

/** Events of the run are missing. */
export interface RunGap {
  channels: string[];
  reason: "trimmed" | "restarted" | "unknown";
  wait: number;
}

/** The view has refused. `status` is that of its answer, if there was one. */
export interface Refusal extends Error {
  status?: number;
}

export interface FollowOptions {
  /** How data is parsed. The default is "json". */
  parse?: "json" | "text";
  /** The types of the events that the callback gets. The default is `["message"]`. */
  types?: string[];
  /** Send cookies to another origin. */
  withCredentials?: boolean;
  /** These are sent with `fetch`. */
  headers?: Record<string, string>;
  method?: string;
  body?: string;
  /** How many milliseconds the server may send nothing at first. */
  silence?: number;
}

export interface Followed {
  /**
   * How the run has ended, or null if no run is under way. Rejects with a `Refusal` if the view refuses.
   * After `close()` it stays pending.
   */
  readonly ended: Promise<End | null>;
  /** Each of these returns a function that ends it. */
  on(name: "status" | "restart", callback: (run: RunStatus) => void): () => void;
  on(name: "progress", callback: (progress: Progress) => void): () => void;
  on(name: "gap", callback: (gap: RunGap) => void): () => void;
  on(name: "disconnect", callback: (disconnect: { reason: string }) => void): () => void;
  on(name: "error", callback: (error: Error, data?: string) => void): () => void;
  close(): void;
}

/** Follow a run to its end: the view returns `push.follow`. */
export function follow<T = any>(
  url: string | URL,
  callback?: ((data: T, event: RunEvent<T>) => void) | null,
  options?: FollowOptions,
): Followed;
