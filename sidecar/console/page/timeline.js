/** What happened, the newest first: transitions with their reasons and evidence, narrowed by what one looks for. */

import { get } from "./api.js";
import { Keyed, make, mark, shape, write } from "./dom.js";
import { clock } from "./figures.js";
import { poolName } from "./words.js";

const KEPT = 500;
const SHOWN = 100;
const SHAPES = new Set(["healthy", "degraded", "unhealthy", "unknown", "draining", "ejected", "maint"]);
const SHAPE_OF = { drain: "draining", ready: "healthy", readmitted: "healthy" };

/** Whose doing an event is: of probes, of the operator, of traffic that failed, or of the monitor itself. */
function kindOf({ backend, from, to, reason }) {
  if (!backend) return "monitor";
  if (/^(ready|drain|maint)\b|^weight /.test(to)) return "operator";
  if (to === "ejected" || to === "readmitted" || from === "ejected") return "traffic";
  return SHAPES.has(to) ? "probes" : reason ? "monitor" : "operator";
}

export class Timeline {
  #node = document.getElementById("events");
  #text = document.getElementById("events-filter");
  #kind = document.getElementById("events-kind");
  #none = document.getElementById("events-none");
  #rows = new Keyed(this.#node, () => new Entry());
  #events = new Map();

  constructor() {
    this.#text.addEventListener("input", () => this.#show());
    this.#kind.addEventListener("change", () => this.#show());
  }

  /** Fetch what happened so far. */
  async load() {
    const events = await get(`/api/events?limit=${KEPT}`).catch(() => []);
    for (const event of events) this.#keep(event);
    this.#show();
  }

  /** Something happened. */
  add(event) {
    this.#keep(event);
    this.#show();
  }

  /** Show what happened to one backend, and go there. */
  only(backend) {
    this.#text.value = backend;
    this.#kind.value = "";
    this.#show();
    this.#text.scrollIntoView({ block: "center" });
    this.#text.focus({ preventScroll: true });
  }

  #keep(event) {
    this.#events.set(`${event.pool} ${event.id}`, event);
  }

  #show() {
    const all = [...this.#events].sort(([, one], [, other]) => other.at_ms - one.at_ms || compare(other.id, one.id));
    this.#events = new Map(all.slice(0, KEPT));
    const shown = all.filter(([, event]) => this.#fits(event)).slice(0, SHOWN);
    this.#rows.update(shown);
    mark(this.#none, "hidden", shown.length > 0);
    write(this.#none, all.length ? "Nothing that fits the filter." : "Nothing has happened yet.");
  }

  #fits(event) {
    if (this.#kind.value && kindOf(event) !== this.#kind.value) return false;
    const words = Object.values(event).join(" ").toLowerCase();
    return this.#text.value
      .toLowerCase()
      .split(/\s+/)
      .every((part) => words.includes(part));
  }
}

class Entry {
  node = make("li");

  /** What happened does not change: an entry is filled once. */
  update(event) {
    if (this.node.childNodes.length) return;
    const { name } = poolName(event.pool);
    const kind = SHAPES.has(event.to) ? event.to : (SHAPE_OF[event.to] ?? "note");
    mark(this.node, "data-kind", kind);
    const where = event.backend ? `${name}/${event.backend}` : name;
    const change = event.to ? [event.from, event.to].filter(Boolean).join(" → ") : `${event.from} → over`;
    const time = make(
      "time",
      { datetime: new Date(event.at_ms).toISOString(), title: new Date(event.at_ms).toISOString() },
      clock(event.at_ms),
    );
    const lines = [
      make("p", { class: "what" }, make("strong", {}, where), " ", change),
      make("p", { class: "why" }, event.reason),
      make("p", { class: "evidence" }, [event.evidence, event.by ? `by ${event.by}` : ""].filter(Boolean).join(" · ")),
    ];
    this.node.append(shape(kind), make("div", {}, ...lines.filter((line) => line.textContent)), time);
  }
}

function compare(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}
