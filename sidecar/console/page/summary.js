/** The top of the page: the link to the monitor, one sentence on everything, and the figures of the whole fleet. */

import { mark, reshape, write } from "./dom.js";
import { clock, count, elapsed, latency, percent, plural, rate } from "./figures.js";
import { headline, isTrouble, lag, standing, takesTraffic } from "./words.js";

const MANY = 3;

const node = (id) => document.getElementById(id);

/** Say how the link is: `{ state, silence, trouble }` of the feed. `shownAt` is when the latest status came. */
export function showLink({ state, silence, trouble }, shownAt) {
  const words = {
    connecting: "Connecting",
    live: "Live",
    silent: `No news for ${elapsed(silence)}`,
    lost: `No monitor for ${elapsed(silence)}, trying again`,
    trouble: "The store cannot be read",
  };
  write(node("link-text"), words[state]);
  mark(document.body, "data-link", state);
  const isStale = !["live", "connecting"].includes(state) && shownAt !== null;
  mark(node("stale"), "hidden", !isStale);
  if (isStale) write(node("stale"), stale(trouble, state, shownAt));
}

function stale(trouble, state, shownAt) {
  const since = `What you see is of ${clock(shownAt)}.`;
  if (state === "trouble") return `${since} ${trouble}.`;
  return `${since} The workers route on by themselves; another monitor, if there is one, takes over within seconds.`;
}

/** Show a status. */
export function showSummary(status) {
  const { tone, text } = headline(status);
  mark(node("headline"), "data-tone", tone);
  reshape(node("headline-shape"), { good: "healthy", note: "note", bad: "unhealthy" }[tone]);
  write(node("headline-text"), text);
  for (const [id, said] of Object.entries(figures(status))) write(node(id), said);
  document.title = tone === "bad" ? `(!) ${text}` : "sidebeat";
}

function figures(status) {
  const pools = Object.values(status.pools);
  const backends = pools.flatMap((pool) => Object.entries(pool.backends));
  const all = backends.map(([, backend]) => backend);
  const workers = new Map(
    pools.flatMap((pool) => pool.workers.map((worker) => [worker.incarnation, lag(worker, pool) === 0])),
  );
  const current = [...workers.values()].filter(Boolean).length;
  const rps = total(all, "rps");
  const errors = all.reduce((sum, each) => sum + (each.error_ratio ?? 0) * (each.rps ?? 0), 0);
  const [slowest] = backends
    .filter(([, each]) => each.p99_ms !== null && takesTraffic(each))
    .sort(([, one], [, other]) => other.p99_ms - one.p99_ms);
  return {
    "sum-backends": `${count(all.filter(takesTraffic).length)} / ${count(all.length)}`,
    "sum-rps": rate(rps),
    "sum-inflight": count(total(all, "inflight")),
    "sum-errors": percent(rps ? errors / rps : null),
    "sum-slowest": slowest ? latency(slowest[1].p99_ms) : "–",
    "sum-slowest-name": slowest ? `p99 of ${slowest[0]}` : "slowest p99",
    "sum-workers": count(workers.size),
    "sum-workers-note":
      current === workers.size
        ? plural(workers.size, "worker").replace(/^\S+ /, "")
        : `workers, ${count(workers.size - current)} behind`,
  };
}

function total(backends, column) {
  return backends.reduce((sum, backend) => sum + (backend[column] ?? 0), 0);
}

/** Tells who cannot see what changed; a screen reader reads it in its own time. */
export class Announcer {
  #before = new Map();
  #isFirst = true;

  /** Compare a status with the one before. */
  update(status) {
    const changes = [];
    const now = new Map();
    for (const [key, pool] of Object.entries(status.pools)) {
      for (const [name, backend] of Object.entries(pool.backends)) {
        const { word } = standing(backend);
        now.set(`${key}/${name}`, word);
        if (this.#before.get(`${key}/${name}`) !== word) changes.push({ text: `${name} is ${word}`, backend });
      }
    }
    this.#before = now;
    if (changes.length && !this.#isFirst) this.say(inWords(changes));
    this.#isFirst = false;
  }

  /** Say something. */
  say(text) {
    node("announcement").textContent = text;
  }
}

function inWords(changes) {
  if (changes.length <= MANY) return changes.map(({ text }) => text).join(", ");
  const troubled = changes.filter(({ backend }) => isTrouble(backend)).length;
  return `${plural(changes.length, "backend")} changed, ${count(troubled)} of them in trouble`;
}
