/** One pool: what is true of all of it, its backends in a table that can be sorted and filtered, its workers. */

import { BackendRow, FIGURES } from "./backend.js";
import { Keyed, make, mark, write } from "./dom.js";
import { count, duration, plural } from "./figures.js";
import { Workers } from "./workers.js";
import { cause, gravity, isTrouble, poolName, poolTrouble, since, standing, takesTraffic } from "./words.js";

/** What is not sorted by its figure alone. */
const WORTH = {
  standing: (backend) => -gravity(standing(backend).kind),
  since: (backend) => -(since(backend) ?? Infinity),
};
const NAMES = new Intl.Collator("en", { numeric: true });
const HEADINGS = [
  { by: "standing", label: "Backend", about: "the gravest first" },
  { by: "since", label: "Since", about: "how long it is as it is" },
  { by: null, label: "Last 5 min", about: "" },
  ...FIGURES.map(({ column, label, about }) => ({ by: column, label, about })),
];

export class PoolSection {
  #page;
  #key;
  #facts = make("p", { class: "facts-line" });
  #trouble = make("p", { class: "trouble", hidden: true });
  #none = make("p", { class: "none", hidden: true }, "No backend fits the filter.");
  #count = make("span", { class: "count" });
  #table;
  #headings;
  #rows;
  #workers;
  #order = [];
  #sort = { by: "standing", isDown: true };
  #isSortNew = true;
  node;

  constructor(page, key) {
    this.#page = page;
    this.#key = key;
    const { name, host } = poolName(key);
    const title = make("h2", {}, name, host ? make("span", { class: "scope" }, `on ${host}`) : "", this.#count);
    this.#headings = HEADINGS.map((heading) => this.#heading(heading));
    const head = make(
      "div",
      { role: "row", class: "backend head" },
      ...this.#headings,
      make("div", { role: "columnheader" }, make("span", { class: "unseen" }, "Actions")),
    );
    this.#table = make(
      "div",
      { role: "table", class: "backends", "aria-label": `Backends of ${name}` },
      make("div", { role: "rowgroup" }, head),
    );
    this.#rows = new Keyed(this.#table, (backend) => new BackendRow(page, key, backend));
    this.#workers = new Workers(name);
    this.node = make(
      "section",
      { class: "pool", "aria-label": `Pool ${key}` },
      make("header", {}, title, this.#facts),
      this.#trouble,
      this.#table,
      this.#none,
      this.#workers.node,
    );
  }

  /** Show it as it is at `now` (unix ms, the clock of Redis). */
  update({ pool, now }) {
    this.#describe(pool);
    const { trend } = this.#page.choice;
    const peak = this.#page.histories.peak(this.#key, trend);
    const most = Math.max(0, ...Object.values(pool.backends).map((backend) => backend.share ?? 0));
    const shown = this.#ordered(pool).filter((name) => this.#fits(name, pool.backends[name], now));
    this.#rows.update(shown.map((name) => [name, { backend: pool.backends[name], pool, now, trend, peak, most }]));
    mark(this.#table, "hidden", !shown.length);
    mark(this.#none, "hidden", shown.length > 0 || !this.#order.length);
    this.#workers.update(pool);
  }

  #describe(pool) {
    const backends = Object.values(pool.backends);
    const trouble = poolTrouble(pool);
    write(
      this.#count,
      `${count(backends.filter(takesTraffic).length)} of ${plural(backends.length, "backend")} take traffic`,
    );
    write(this.#facts, facts(pool));
    write(this.#trouble, trouble);
    mark(this.#trouble, "hidden", !trouble);
  }

  #fits(name, backend, now) {
    const { text, onlyTrouble } = this.#page.choice;
    if (onlyTrouble && !isTrouble(backend)) return false;
    if (!text) return true;
    const words = [name, backend.url, standing(backend).word, cause(backend, now)].join(" ").toLowerCase();
    return text.split(/\s+/).every((part) => words.includes(part));
  }

  /** The names in order. Nothing moves under a pointer or away from a keyboard's focus; who is new comes last then. */
  #ordered(pool) {
    const isHeld = !this.#isSortNew && this.#table.matches(":hover, :focus-within");
    const names = Object.keys(pool.backends);
    if (isHeld) {
      const known = new Set(this.#order);
      this.#order = [
        ...this.#order.filter((name) => Object.hasOwn(pool.backends, name)),
        ...names.filter((name) => !known.has(name)),
      ];
    } else {
      this.#order = names.sort(this.#comparison(pool.backends));
    }
    this.#isSortNew = false;
    return this.#order;
  }

  #comparison(backends) {
    const { by, isDown } = this.#sort;
    const sign = isDown ? -1 : 1;
    const worth = (name) => WORTH[by]?.(backends[name]) ?? backends[name][by] ?? -1;
    return (one, other) => sign * (worth(one) - worth(other)) || NAMES.compare(one, other);
  }

  #heading({ by, label, about }) {
    if (!by) return make("div", { role: "columnheader" }, label);
    const isFirst = by === this.#sort.by;
    const button = make("button", { type: "button", title: about, onclick: () => this.#sortBy(by) }, label);
    return make("div", { role: "columnheader", "data-by": by, "aria-sort": isFirst ? "descending" : "none" }, button);
  }

  #sortBy(by) {
    this.#sort = { by, isDown: this.#sort.by === by ? !this.#sort.isDown : true };
    this.#isSortNew = true;
    for (const heading of this.#headings) {
      const isThis = heading.dataset.by === by;
      if (heading.dataset.by)
        mark(heading, "aria-sort", isThis ? (this.#sort.isDown ? "descending" : "ascending") : "none");
    }
    this.#page.show();
  }
}

function facts(pool) {
  return [
    pool.epoch ? `epoch ${pool.epoch}` : "",
    pool.leader ? `monitor ${pool.leader} leads` : "no monitor leads",
    pool.age_ms === null ? "" : `heard from ${duration(pool.age_ms)} ago`,
  ]
    .filter(Boolean)
    .join(" · ");
}
