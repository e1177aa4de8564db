/** One backend in its pool's table: a row of figures, and the details under it while it is open. */

import { Detail } from "./detail.js";
import { followTheme, Sparkline } from "./charts.js";
import { WISHES } from "./wishes.js";
import { make, mark, reshape, shape, write } from "./dom.js";
import { count, elapsed, latency, percent, rate, weight } from "./figures.js";
import { cause, since, standing } from "./words.js";

/** The columns of figures: a word, how a value is said, and what the word means. */
export const FIGURES = [
  { column: "rps", label: "Req/s", say: rate, about: "requests a second that workers send to it" },
  { column: "share", label: "Share", say: percent, about: "its part of the pool's requests" },
  { column: "inflight", label: "In flight", say: count, about: "requests it has not completed" },
  { column: "p50_ms", label: "p50", say: latency, about: "half of its answers begin within this time" },
  { column: "p99_ms", label: "p99", say: latency, about: "99 of 100 answers begin within this time" },
  { column: "error_ratio", label: "Errors", say: percent, about: "the part of its requests that failed" },
  { column: "weight", label: "Weight", say: weight, about: "how much of the traffic it is meant for" },
];

/** How long the bar is, in percent: the busiest backend's is whole, so that it says something among hundreds, too. */
function share({ backend, most }) {
  return most ? ((backend.share ?? 0) / most) * 100 : 0;
}

export class BackendRow {
  #page;
  #key;
  #name;
  #word = make("span", { class: "word" });
  #cause = make("span");
  #shape = shape("unknown");
  #since = make("div", { role: "cell", class: "since number", "data-label": "Since" });
  #trend = make("div", { role: "cell", class: "trend", "aria-hidden": "true" });
  #figures = new Map();
  #bar = make("i", { class: "bar", "aria-hidden": "true" }, make("i"));
  #open;
  #act;
  #forget;
  #line;
  #spark;
  #detail = null;
  #latest = null;
  node;

  /** `page` is what every part of the page shares; see app.js. */
  constructor(page, key, name) {
    this.#page = page;
    this.#key = key;
    this.#name = name;
    this.#open = make(
      "button",
      { type: "button", class: "name", "aria-expanded": "false", onclick: () => this.#toggle() },
      name,
    );
    this.#act = make("button", { type: "button", class: "quiet", onclick: () => this.#wish(this.#act.dataset.wish) });
    this.#line = make(
      "div",
      { role: "row", class: "backend" },
      this.#who(),
      this.#since,
      this.#trend,
      ...this.#cells(),
      make("div", { role: "cell", class: "act" }, this.#act),
    );
    this.node = make("div", { role: "rowgroup", class: "part" }, this.#line);
    this.#spark = new Sparkline(this.#trend, () => page.histories.want(key, name));
    this.#forget = followTheme(this.#spark);
  }

  /**
   * Show it as it is: `{ backend, pool, now }`, the `trend` that is chosen with the pool's `peak` of it, and the
   * greatest share that a backend of the pool has (`most`).
   */
  update(latest) {
    const { backend, now, trend, peak } = latest;
    this.#latest = latest;
    const { kind, word } = standing(backend);
    const began = since(backend);
    mark(this.node, "data-kind", kind);
    reshape(this.#shape, kind);
    write(this.#word, word);
    write(this.#cause, cause(backend, now));
    mark(this.#cause, "title", this.#cause.textContent);
    write(this.#since, began === null ? "–" : elapsed(now - began));
    for (const { column, say } of FIGURES) write(this.#figures.get(column), say(backend[column]));
    this.#bar.firstChild.style.inlineSize = `${share(latest).toFixed(1)}%`;
    this.#offer(backend);
    this.#spark.update(this.#page.histories.of(this.#key, this.#name), trend, peak, now / 1_000);
    this.#detail?.update(latest);
  }

  /** It left the pool, or what is shown of it. */
  destroy() {
    this.#forget();
    this.#spark.destroy();
    this.#detail?.destroy();
  }

  #who() {
    const said = make("div", { class: "cause" }, this.#word, " ", this.#cause);
    return make(
      "div",
      { role: "rowheader", class: "who" },
      this.#shape,
      make("div", { class: "what" }, this.#open, said),
    );
  }

  #cells() {
    return FIGURES.map(({ column, label }) => {
      const figure = make("span");
      this.#figures.set(column, figure);
      const parts = column === "share" ? [this.#bar, figure] : [figure];
      return make("div", { role: "cell", class: `number ${column}`, "data-label": label }, ...parts);
    });
  }

  /** The one button that is apt now; the others are among the details. */
  #offer(backend) {
    const wish = backend.admin === "ready" ? "drain" : "ready";
    mark(this.#act, "data-wish", wish);
    mark(this.#act, "aria-label", `${WISHES[wish].verb} ${this.#name}`);
    write(this.#act, WISHES[wish].verb);
    this.#page.lock(this.#act);
  }

  #wish(wish) {
    this.#page.wishes.open(wish, this.#key, this.#name, this.#latest.pool);
  }

  #toggle() {
    if (this.#detail) {
      this.#detail.destroy();
      this.#detail.node.remove();
      this.#detail = null;
    } else {
      this.#detail = new Detail(this.#page, this.#key, this.#name, (wish) => this.#wish(wish));
      this.node.append(this.#detail.node);
      this.#page.histories.want(this.#key, this.#name);
      this.#detail.update(this.#latest);
    }
    mark(this.#open, "aria-expanded", String(Boolean(this.#detail)));
  }
}
