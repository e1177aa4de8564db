/** The workers of a pool: the epoch each routes on, how old its view is, and what it has under way. */

import { Keyed, make, mark, shape, write } from "./dom.js";
import { count, duration, plural } from "./figures.js";
import { lag, STALE_MS } from "./words.js";

/** More than this are a long list, which is opened by who wants it. */
const FEW = 8;
const COLUMNS = ["Worker", "Pid", "Applied epoch", "View age", "Heard from", "Requests", "Streams", "Tunnels", "Idle"];

export class Workers {
  #summary = make("span");
  #rows;
  #isFirst = true;
  node;

  constructor(pool) {
    const head = make(
      "div",
      { role: "row", class: "worker head" },
      ...COLUMNS.map((label) => make("div", { role: "columnheader" }, label)),
    );
    const body = make("div", { role: "rowgroup" });
    this.#rows = new Keyed(body, () => new WorkerRow());
    const table = make(
      "div",
      { role: "table", class: "workers", "aria-label": `Workers of ${pool}` },
      make("div", { role: "rowgroup" }, head),
      body,
    );
    this.node = make("details", { class: "crew" }, make("summary", {}, this.#summary), table);
  }

  /** Show them as they are; the table only while it is open. */
  update(pool) {
    const { workers } = pool;
    if (this.#isFirst && workers.length) {
      this.#isFirst = false;
      this.node.open = workers.length <= FEW;
    }
    write(this.#summary, inWords(pool));
    if (!this.node.open) return;
    this.#rows.update(workers.map((worker) => [`${nameOf(worker)}:${worker.incarnation}`, { worker, pool }]));
  }
}

class WorkerRow {
  #cells = COLUMNS.map((label, place) =>
    make("div", { role: place ? "cell" : "rowheader", class: place > 2 ? "number" : "", "data-label": label }),
  );
  #name = make("span");
  #draining = make("span", { class: "tag", hidden: true }, shape("draining"), "draining");
  node = make("div", { role: "row", class: "worker" }, ...this.#cells);

  constructor() {
    this.#cells[0].append(this.#name, this.#draining);
  }

  update({ worker, pool }) {
    const { requests, streams, tunnels, idle } = worker.under_way;
    const behind = lag(worker, pool);
    const age = worker.view_age_ms;
    write(this.#name, nameOf(worker));
    mark(this.#draining, "hidden", !worker.draining);
    const texts = [
      String(worker.pid),
      behind ? `behind by ${duration(behind)}` : behind === 0 ? "current" : "none yet",
      age === null ? "never had one" : duration(age),
      `${duration(worker.age_ms)} ago`,
      ...[requests, streams, tunnels, idle].map(count),
    ];
    texts.forEach((text, place) => write(this.#cells[place + 1], text));
    mark(this.#cells[2], "title", worker.applied_epoch ? `epoch ${worker.applied_epoch}` : null);
    mark(this.#cells[2], "data-note", behind !== 0);
    mark(this.#cells[3], "data-note", age === null || age > STALE_MS);
  }
}

function nameOf(worker) {
  return `${worker.host}:${worker.instance}:${worker.slot}`;
}

/** All of them in a line. */
function inWords(pool) {
  const { workers } = pool;
  if (!workers.length) return "No worker reports";
  const behind = workers.filter((worker) => lag(worker, pool) !== 0).length;
  const draining = workers.filter((worker) => worker.draining).length;
  const stale = workers.filter(({ view_age_ms: age }) => age === null || age > STALE_MS).length;
  return [
    plural(workers.length, "worker"),
    behind ? `${count(behind)} behind` : workers.length === 1 ? "on the published epoch" : "all on the published epoch",
    stale ? `${count(stale)} with a stale view` : "",
    draining ? `${count(draining)} draining` : "",
  ]
    .filter(Boolean)
    .join(", ");
}
