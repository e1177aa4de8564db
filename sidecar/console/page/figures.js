/** Numbers and times as people say them; the same words as `sidebeat status`. Null, which nobody knows, is a dash. */

const UNKNOWN = "–";
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const CLOCK = new Intl.DateTimeFormat("en", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const DAY = new Intl.DateTimeFormat("en", { month: "short", day: "numeric" });
const DAY_MS = 86_400_000;

/** A length of time. */
export function duration(milliseconds) {
  const seconds = Math.max(0, milliseconds) / 1_000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  if (seconds < 7_200) return `${(seconds / 60).toFixed(0)} min`;
  return seconds < 172_800 ? `${(seconds / 3_600).toFixed(0)} h` : `${(seconds / 86_400).toFixed(0)} days`;
}

/** A length of time that counts up before one's eyes: whole seconds, so that it is calm. */
export function elapsed(milliseconds) {
  return milliseconds < 10_000 ? `${Math.floor(Math.max(0, milliseconds) / 1_000)} s` : duration(milliseconds);
}

/** The time of day in unix ms, with the day where it is not today's. */
export function clock(at, now = Date.now()) {
  const time = CLOCK.format(at);
  return now - at < DAY_MS / 2 ? time : `${DAY.format(at)} ${time}`;
}

/** Things that are counted. */
export function count(value) {
  return value === null ? UNKNOWN : WHOLE.format(value);
}

/** So many a second. */
export function rate(value) {
  if (value === null) return UNKNOWN;
  return value > 0 && value < 10 ? value.toFixed(1) : WHOLE.format(value);
}

/** The upper bound of the last bucket: beyond it nobody knows how long it was. */
const LONGEST_MS = 10_000;

/** Milliseconds of waiting. */
export function latency(value) {
  if (value === null) return UNKNOWN;
  if (value >= LONGEST_MS) return `≥${LONGEST_MS / 1_000} s`;
  if (value >= 1_000) return `${(value / 1_000).toFixed(1)} s`;
  return `${value > 0 && value < 10 ? value.toFixed(1) : WHOLE.format(value)} ms`;
}

/** A part of a whole; one that is not nothing never reads as nothing. */
export function percent(value) {
  if (value === null) return UNKNOWN;
  if (value > 0 && value < 0.001) return "<0.1%";
  return value > 0 && value < 0.1 ? `${(value * 100).toFixed(1)}%` : `${(value * 100).toFixed(0)}%`;
}

/** A weight. */
export function weight(value) {
  return String(Number(value.toPrecision(6)));
}

/** `1 worker`, `2 workers`. */
export function plural(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}
