/** What can be asked of a backend, and the dialog that confirms it, sends it, and says what became of it. */

import { post, Refusal } from "./api.js";
import { mark, write } from "./dom.js";
import { plural, weight } from "./figures.js";
import { poolName, takesTraffic } from "./words.js";

/** What can be asked for: the button's word, the question, and what will happen. */
export const WISHES = {
  drain: {
    verb: "Drain",
    ask: (name) => `Drain ${name}?`,
    effect: "It gets no new request, and completes what it has under way.",
  },
  maint: {
    verb: "Maintenance",
    ask: (name) => `Take ${name} into maintenance?`,
    effect: "It gets no new request and is probed no more, until it is made ready.",
  },
  ready: {
    verb: "Ready",
    ask: (name) => `Make ${name} ready?`,
    effect: "It takes traffic as soon as its probes pass.",
  },
  weight: {
    verb: "Weight",
    ask: (name) => `Weight of ${name}`,
    effect: "Its share of the traffic follows its weight beside that of the others; 0 is none.",
  },
};

/** The dialog. */
export class WishDialog {
  #dialog = document.getElementById("wish");
  #form = this.#dialog.querySelector("form");
  #weight = this.#dialog.querySelector(".weight");
  #error = this.#dialog.querySelector(".error");
  #wished = null;
  #session;
  #login;
  #say;

  /** `say` tells the person what became of it. */
  constructor(session, login, say) {
    this.#session = session;
    this.#login = login;
    this.#say = say;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.#dialog.querySelector(".cancel").addEventListener("click", () => this.#dialog.close());
    this.#form.elements.configured.addEventListener("change", () => this.#follow());
  }

  /** Ask to confirm a wish for a backend; who is not logged in does that first. */
  open(wish, key, name, pool) {
    if (!this.#session.mayWrite) {
      this.#login.open(() => this.open(wish, key, name, pool));
      return;
    }
    this.#wished = { wish, key, name };
    this.#fill(wish, key, name, pool);
    this.#dialog.showModal();
    if (wish === "weight") this.#form.elements.weight.select();
    else this.#dialog.querySelector(this.#isLast(wish, name, pool) ? ".cancel" : ".confirm").focus();
  }

  #fill(wish, key, name, pool) {
    const { verb, ask, effect } = WISHES[wish];
    const backend = pool.backends[name];
    write(this.#dialog.querySelector("h2"), ask(name));
    write(this.#dialog.querySelector(".effect"), effect);
    write(this.#dialog.querySelector(".confirm"), wish === "weight" ? "Set weight" : verb);
    write(this.#dialog.querySelector(".others"), others(key, name, pool));
    write(
      this.#dialog.querySelector(".warning"),
      this.#isLast(wish, name, pool)
        ? `No other backend of ${poolName(key).name} takes traffic: without ${name} it serves nobody.`
        : "",
    );
    write(this.#error, "");
    this.#weight.hidden = wish !== "weight";
    this.#form.reset();
    this.#form.elements.weight.value = weight(backend.weight);
    this.#follow();
  }

  #follow() {
    const isAsked = !this.#weight.hidden && !this.#form.elements.configured.checked;
    this.#form.elements.weight.disabled = !isAsked;
  }

  #isLast(wish, name, pool) {
    const endsWork = wish === "drain" || wish === "maint";
    return (
      endsWork && !Object.entries(pool.backends).some(([other, backend]) => other !== name && takesTraffic(backend))
    );
  }

  async #submit() {
    const { wish, key, name } = this.#wished;
    const { elements } = this.#form;
    const body =
      wish === "weight" ? { weight: elements.configured.checked ? null : Number(elements.weight.value) } : {};
    mark(this.#dialog.querySelector(".confirm"), "disabled", true);
    try {
      const path = [key, "backends", name, wish].map(encodeURIComponent).join("/");
      const asked = await post(`/api/pools/${path}`, body);
      this.#dialog.close();
      this.#say(outcome(asked));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      await this.#refused(error);
    } finally {
      mark(this.#dialog.querySelector(".confirm"), "disabled", false);
    }
  }

  /** Say why; where the session is over, one logs in on top of this dialog and confirms again. */
  async #refused(error) {
    write(this.#error, `${error.message}.`);
    if (error.status !== 401) return;
    await this.#session.look();
    this.#login.open();
  }
}

function others(key, name, pool) {
  const backend = pool.backends[name];
  const taking = Object.entries(pool.backends).filter(([other, each]) => other !== name && takesTraffic(each)).length;
  const underWay = backend.inflight === null ? "" : `${plural(backend.inflight, "request")} in flight; `;
  const take = taking === 1 ? "takes" : "take";
  return `${underWay}${plural(taking, "other backend")} ${take} traffic in ${poolName(key).name}.`;
}

function outcome(asked) {
  const where = `${poolName(asked.pool).name}/${asked.backend}`;
  const change = asked.before === asked.after ? `${asked.after}, as before` : `${asked.after} (was ${asked.before})`;
  return [`${where}: ${change}`, asked.warning].filter(Boolean).join("; ");
}
