/** What the page remembers of each backend: the last five minutes, a point a second, older ones from the monitor. */

import { get } from "./api.js";

export const WINDOW_S = 300;
const COLUMNS = ["rps", "p50_ms", "p99_ms", "error_ratio", "inflight"];
/** A status is sent out of turn when something happens; one point a second is enough. */
const APART_S = 0.5;
/** Longer than this without a point is a gap, and drawn as one. */
const GAP_S = 5;
const MAX_ASKED = 64;
const GATHER_MS = 100;

/** The columns of one backend, the oldest first; `at` is unix seconds by the clock of Redis. */
class History {
  at = [];
  columns = Object.fromEntries(COLUMNS.map((name) => [name, []]));
  isAsked = false;

  /** Add what a status says, and forget what is older than the window. */
  add(at, backend) {
    const last = this.at.at(-1) ?? -Infinity;
    if (at - last < APART_S) return;
    if (at - last > GAP_S && this.at.length) this.#push(last + 1, {});
    this.#push(at, backend);
    let old = 0;
    while (this.at[old] < at - WINDOW_S) old += 1;
    for (const column of [this.at, ...Object.values(this.columns)]) column.splice(0, old);
  }

  /** Put what the monitor remembers before what the page does. */
  seed(remembered) {
    const first = this.at[0] ?? Infinity;
    const older = remembered.at_ms.filter((at) => at / 1_000 < first - APART_S).length;
    this.at.unshift(...remembered.at_ms.slice(0, older).map((at) => at / 1_000));
    for (const name of COLUMNS) this.columns[name].unshift(...remembered[name].slice(0, older));
  }

  /** The greatest value of a column; 0 when there is none. */
  peak(name) {
    let peak = 0;
    for (const value of this.columns[name]) if (value > peak) peak = value;
    return peak;
  }

  #push(at, values) {
    this.at.push(at);
    for (const name of COLUMNS) this.columns[name].push(values[name] ?? null);
  }
}

/** The histories of all backends, by pool and name. */
export class Histories {
  #pools = new Map();
  #wanted = new Map();
  #onSeed;

  /** `onSeed` is called when something older has come. */
  constructor(onSeed) {
    this.#onSeed = onSeed;
  }

  /** Of one backend. */
  of(pool, name) {
    const histories = this.#of(pool);
    if (!histories.has(name)) histories.set(name, new History());
    return histories.get(name);
  }

  /** Add a point for every backend of a status, and forget the backends that are gone. */
  add(status) {
    for (const key of [...this.#pools.keys()].filter((key) => !Object.hasOwn(status.pools, key)))
      this.#pools.delete(key);
    for (const [key, pool] of Object.entries(status.pools)) {
      const histories = this.#of(key);
      for (const name of [...histories.keys()].filter((name) => !Object.hasOwn(pool.backends, name)))
        histories.delete(name);
      for (const [name, backend] of Object.entries(pool.backends))
        this.of(key, name).add(status.now_ms / 1_000, backend);
    }
  }

  /** The greatest value of a column in a pool: its small charts have one scale, so that they can be compared. */
  peak(pool, column) {
    let peak = 0;
    for (const history of this.#of(pool).values()) peak = Math.max(peak, history.peak(column));
    return peak;
  }

  /** Ask the monitor for what was before this page, once a backend; many wishes make one request. */
  want(pool, name) {
    const history = this.of(pool, name);
    if (history.isAsked) return;
    history.isAsked = true;
    if (!this.#wanted.size) setTimeout(() => this.#ask(), GATHER_MS);
    this.#wanted.set(pool, [...(this.#wanted.get(pool) ?? []), name]);
  }

  async #ask() {
    const wanted = [...this.#wanted];
    this.#wanted.clear();
    for (const [pool, names] of wanted) {
      for (let start = 0; start < names.length; start += MAX_ASKED) {
        await this.#fetch(pool, names.slice(start, start + MAX_ASKED));
      }
    }
    this.#onSeed();
  }

  async #fetch(pool, names) {
    const query = new URLSearchParams([...names.map((name) => ["backend", name]), ["limit", String(WINDOW_S)]]);
    try {
      const found = await get(`/api/history/${encodeURIComponent(pool)}?${query}`);
      for (const name of names) if (Object.hasOwn(found, name)) this.of(pool, name).seed(found[name]);
    } catch {
      for (const name of names) this.of(pool, name).isAsked = false; // asked again when it is next seen
    }
  }

  #of(pool) {
    if (!this.#pools.has(pool)) this.#pools.set(pool, new Map());
    return this.#pools.get(pool);
  }
}
