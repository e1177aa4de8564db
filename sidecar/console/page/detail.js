/** What there is to know of one backend: facts, charts of five minutes, and everything that can be asked of it. */

import { Chart, followTheme } from "./charts.js";
import { WISHES } from "./wishes.js";
import { Keyed, make, write } from "./dom.js";
import { clock, count, duration, latency, percent, plural, rate, weight } from "./figures.js";
import { ejection, since } from "./words.js";

const CHARTS = [
  { title: "Requests a second", format: rate, least: 1, series: [{ label: "req/s", column: "rps", tone: "--accent" }] },
  {
    title: "Time to the answer's headers",
    format: latency,
    least: 10,
    series: [
      { label: "p50", column: "p50_ms", tone: "--accent" },
      { label: "p99", column: "p99_ms", tone: "--off" },
    ],
  },
  {
    title: "Failed requests",
    format: percent,
    least: 0.05,
    series: [{ label: "failed", column: "error_ratio", tone: "--bad" }],
  },
];

export class Detail {
  #page;
  #key;
  #name;
  #facts;
  #charts = [];
  #forget = [];
  #buttons;
  node;

  /** `wish` is called with what a button asks for. */
  constructor(page, key, name, wish) {
    this.#page = page;
    this.#key = key;
    this.#name = name;
    this.#buttons = Object.entries(WISHES).map(([each, { verb }]) =>
      make(
        "button",
        { type: "button", "data-wish": each, onclick: () => wish(each) },
        each === "weight" ? `${verb} …` : verb,
      ),
    );
    const events = make(
      "button",
      { type: "button", class: "quiet", onclick: () => page.timeline.only(name) },
      "Its events",
    );
    const facts = make("dl", { class: "facts" });
    this.#facts = new Keyed(facts, fact);
    const charts = make("div", { class: "charts" }, ...CHARTS.map((each) => this.#chart(each)));
    const buttons = make(
      "div",
      { class: "buttons", role: "group", "aria-label": `Operate ${name}` },
      ...this.#buttons,
      events,
    );
    this.node = make("div", { role: "row", class: "detail" }, make("div", { role: "cell" }, facts, charts, buttons));
  }

  /** Show it as it is; see `BackendRow.update`. */
  update({ backend, now }) {
    this.#facts.update(factsOf(backend, now));
    const history = this.#page.histories.of(this.#key, this.#name);
    for (const chart of this.#charts) chart.update(history, now / 1_000);
    for (const button of this.#buttons) this.#page.lock(button);
  }

  /** It is closed. */
  destroy() {
    for (const forget of this.#forget) forget();
    for (const chart of this.#charts) chart.destroy();
  }

  #chart({ title, ...plan }) {
    const place = make("div", { class: "chart" });
    const chart = new Chart(place, plan);
    this.#charts.push(chart);
    this.#forget.push(followTheme(chart));
    return make("figure", {}, make("figcaption", {}, title), place);
  }
}

function fact(label) {
  const said = make("dd");
  return { node: make("div", {}, make("dt", {}, label), said), update: (text) => write(said, text) };
}

/** Pairs of a label and what is to be said; what does not apply is left out. */
function factsOf(backend, now) {
  const facts = [
    ["Address", backend.url],
    ["Probes", probes(backend)],
    ["As it is since", since(backend) === null ? "" : clock(since(backend))],
    ["Operator", operator(backend, now)],
    ["Ejected", ejection(backend)],
    ["Slow start", backend.ramp_ms ? `${duration(backend.ramp_ms)} left` : ""],
    ["Places", places(backend)],
    ["Requests leased", leased(backend.limits)],
  ];
  return facts.filter(([, text]) => text);
}

function probes(backend) {
  const streak = backend.fail_streak
    ? `${count(backend.fail_streak)} failed in a row`
    : `${count(backend.ok_streak)} passed in a row`;
  const took = backend.probe_ms === null ? "" : `, the latest after ${latency(backend.probe_ms)}`;
  return `${backend.state}: ${backend.reason}; ${streak}${took}`;
}

function operator(backend, now) {
  const by = backend.asked_by
    ? ` by ${backend.asked_by}${backend.asked === null ? "" : ` ${duration(now - backend.asked)} ago`}`
    : "";
  const wanted = backend.pending ? `; ${backend.pending} is asked for, and not in force yet` : "";
  return `${backend.admin}, weight ${weight(backend.weight)}${by}${wanted}`;
}

function places({ limits, inflight }) {
  if (!limits?.max_inflight) return "";
  const shares = Object.entries(limits.places).map(([instance, share]) => `${instance} ${count(share)}`);
  return [`${count(inflight)} of ${count(limits.max_inflight)} in flight`, ...shares].join("; ");
}

function leased(limits) {
  if (!limits?.max_requests) return "";
  const window = duration(limits.window_ms);
  return `${count(limits.requests)} of ${plural(limits.max_requests, "request")} in this window of ${window}`;
}
