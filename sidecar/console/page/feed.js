/**
 * News from the monitor by server-sent events, and how old the latest are.
 *
 * The browser reconnects by itself while it only lacks a connection; where the monitor refuses the stream, we
 * ask again. Something comes each second, so that silence is a message, too.
 */

/** The monitor sends each second. */
const SILENT_MS = 3_000;
const AGAIN_MS = 2_000;
const LOOK_MS = 1_000;

export class Feed {
  #url;
  #hear;
  #source = null;
  #heard = performance.now();
  #hasHeard = false;
  #trouble = "";
  #again = 0;

  /** `hear` has a function for each: `status`, `event`, `missed`, `opened`, `refused`, `link`. */
  constructor(url, hear) {
    this.#url = url;
    this.#hear = hear;
    setInterval(() => this.#tell(), LOOK_MS);
  }

  /** Listen; anew, when it listens already. */
  open() {
    clearTimeout(this.#again);
    this.#source?.close();
    const source = (this.#source = new EventSource(this.#url));
    source.addEventListener("open", () => this.#hear.opened());
    source.addEventListener("status", (message) => this.#news("", () => this.#hear.status(JSON.parse(message.data))));
    source.addEventListener("event", (message) => this.#hear.event(JSON.parse(message.data)));
    source.addEventListener("missed", () => this.#hear.missed());
    source.addEventListener("trouble", (message) => this.#news(JSON.parse(message.data).error, () => {}));
    source.addEventListener("error", () => this.#failed(source));
  }

  #news(trouble, act) {
    this.#heard = performance.now();
    this.#hasHeard = true;
    this.#trouble = trouble;
    act();
    this.#tell();
  }

  #failed(source) {
    if (source === this.#source && source.readyState === EventSource.CLOSED) {
      this.#again = setTimeout(() => this.open(), AGAIN_MS);
      this.#hear.refused();
    }
    this.#tell();
  }

  /** The state of the link, in a word, and since when there are no news (ms). */
  #tell() {
    const silence = performance.now() - this.#heard;
    this.#hear.link({ state: this.#state(silence), silence, trouble: this.#trouble });
  }

  #state(silence) {
    if (!this.#hasHeard) return "connecting";
    if (this.#source?.readyState !== EventSource.OPEN) return "lost";
    if (silence > SILENT_MS) return "silent";
    return this.#trouble ? "trouble" : "live";
  }
}
