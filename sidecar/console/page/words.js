/**
 * What a status means, in words: how a backend stands, whether it takes traffic, what is wrong, what the page's
 * headline says. Pure: records of /api/status in, words out.
 */

import { duration, plural } from "./figures.js";

/** A heartbeat comes each second; a view older than this is stale to the workers, too. */
export const STALE_MS = 3_000;

/** What a standing's kind is worth to somebody who looks for trouble: the greatest first. */
const GRAVITY = ["unhealthy", "ejected", "degraded", "unknown", "draining", "drained", "maint", "warming", "healthy"];
/** So many in trouble are called by their names. */
const NAMED = 3;
const TROUBLE = new Set(["unhealthy", "ejected", "degraded"]);
const WELL = new Set(["warming", "healthy"]);

/** How a backend stands: a kind, which has a shape and a colour, and its word. What decides most comes first. */
export function standing(backend) {
  if (backend.admin === "maint") return { kind: "maint", word: "in maintenance" };
  if (backend.admin === "drain") return backend.inflight ? asKind("draining") : asKind("drained");
  if (backend.state === "unhealthy") return asKind("unhealthy");
  if (backend.ejected_ms || backend.ejected_on.length) return asKind("ejected");
  if (backend.state === "healthy" && backend.weight === 0) return { kind: "drained", word: "out of traffic" };
  if (backend.state === "healthy" && backend.ramp_ms) return { kind: "warming", word: "warming up" };
  return asKind(backend.state);
}

function asKind(kind) {
  return { kind, word: kind };
}

/** How grave a standing is; 0 is the gravest. */
export function gravity(kind) {
  return GRAVITY.indexOf(kind);
}

/** Whether somebody should look. */
export function isTrouble(backend) {
  return TROUBLE.has(standing(backend).kind);
}

/** Whether a backend is offered new requests, as `sidebeat drain` asks it. */
export function takesTraffic(backend) {
  const isWanted = backend.admin === "ready" && backend.weight > 0 && !backend.pending;
  return isWanted && !backend.ejected_ms && !["unhealthy", "draining"].includes(backend.state);
}

/** Since when a backend stands as it does (unix ms; null: nobody knows). */
export function since(backend) {
  return backend.admin === "ready" ? backend.since : (backend.asked ?? backend.since);
}

/** Why a backend stands as it does: the operator's word before the ejection, and that before the probe's. */
export function cause(backend, now) {
  const parts = [];
  if (backend.pending) parts.push(`${backend.pending} is asked for, and not in force yet`);
  if (backend.asked_by && (backend.admin !== "ready" || backend.weight === 0)) {
    parts.push(`asked for by ${backend.asked_by}${ago(backend.asked, now)}`);
  }
  if (backend.weight === 0) parts.push("its weight is 0");
  parts.push(ejection(backend));
  if (backend.ramp_ms && backend.state === "healthy")
    parts.push(`its share grows for ${duration(backend.ramp_ms)} more`);
  const isProbes = [backend.state, "warming up"].includes(standing(backend).word);
  parts.push(isProbes ? backend.reason : `probes say ${backend.state}: ${backend.reason}`);
  return parts.filter(Boolean).join("; ");
}

/** Who keeps requests from a backend that fails them; empty: nobody. */
export function ejection(backend) {
  const fleet = backend.ejected_ms ? [`by most of the fleet for ${duration(backend.ejected_ms)} more`] : [];
  return [...fleet, ...backend.ejected_on.map((instance) => `on ${instance}`)].join(", ");
}

function ago(at, now) {
  return at === null ? "" : ` ${duration(now - at)} ago`;
}

/** A pool's name for people, and the host it is scoped to (empty: the fleet). */
export function poolName(key) {
  const [name, host = ""] = key.split(/@(.*)/s);
  return { name, host };
}

/** What is wrong with a pool as a whole; empty when nothing is. */
export function poolTrouble(pool) {
  if (pool.problem) return pool.problem;
  const known = pool.age_ms === null ? "" : `; what you see is ${duration(pool.age_ms)} old`;
  if (!pool.leader) return `no monitor leads: nobody probes, and the workers route on what they know${known}`;
  if (pool.age_ms !== null && pool.age_ms > STALE_MS) return `its monitor is silent${known}`;
  if (pool.suspect) return `the monitor mistrusts its own probes and holds its verdicts: ${pool.suspect}`;
  const backends = Object.values(pool.backends);
  if (backends.length && !backends.some(takesTraffic)) return "no backend takes traffic";
  return "";
}

/** How far a worker is behind the published epoch, in ms; epochs are close to unix ms. */
export function lag(worker, pool) {
  return worker.applied_epoch ? Math.max(0, (pool.epoch ?? 0) - worker.applied_epoch) : null;
}

/** Everything at one look: `{ tone, text }`, the tone being good, note or bad. */
export function headline(status) {
  const pools = Object.entries(status.pools);
  if (!pools.length) return { tone: "note", text: "No pool is published yet." };
  const broken = pools.filter(([, pool]) => poolTrouble(pool));
  if (broken.length === 1)
    return { tone: "bad", text: sentence(`${poolName(broken[0][0]).name}: ${poolTrouble(broken[0][1])}`) };
  if (broken.length) return { tone: "bad", text: `${plural(broken.length, "pool")} of ${pools.length} need you.` };
  return ofBackends(pools, status.now_ms);
}

function ofBackends(pools, now) {
  const prefix = (key) => (pools.length > 1 ? `${poolName(key).name}/` : "");
  const all = pools.flatMap(([key, pool]) =>
    Object.entries(pool.backends).map(([name, backend]) => ({ name: prefix(key) + name, backend })),
  );
  const troubled = all
    .filter(({ backend }) => isTrouble(backend))
    .sort((one, other) => graveness(one) - graveness(other));
  if (troubled.length === 1) {
    const [{ name, backend }] = troubled;
    return { tone: "bad", text: sentence(`${name} is ${standing(backend).word}: ${cause(backend, now)}`) };
  }
  if (troubled.length) return { tone: "bad", text: sentence(inShort(troubled, all.length)) };
  const aside = all.filter(({ backend }) => !WELL.has(standing(backend).kind));
  if (!aside.length)
    return { tone: "good", text: all.length === 1 ? "The backend is well." : `All ${all.length} backends are well.` };
  const which = aside.length > NAMED ? `${aside.length} of ${all.length} are out of traffic or unknown` : named(aside);
  return { tone: "note", text: aside.length === all.length ? `${which}.` : `${which}; the others are well.` };
}

function graveness({ backend }) {
  return gravity(standing(backend).kind);
}

function inShort(troubled, total) {
  return troubled.length > NAMED ? `${plural(troubled.length, "backend")} of ${total} are in trouble` : named(troubled);
}

function named(backends) {
  const byWord = new Map();
  for (const { name, backend } of backends) {
    const { word } = standing(backend);
    byWord.set(word, [...(byWord.get(word) ?? []), name]);
  }
  return [...byWord].map(([word, names]) => `${listed(names)} ${names.length === 1 ? "is" : "are"} ${word}`).join(", ");
}

function listed(names) {
  return names.length < 3 ? names.join(" and ") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

function sentence(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
