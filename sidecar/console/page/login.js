/** The dialog to log in: a native one, so that focus stays inside, Escape closes it, and focus goes back where it was. */

import { Refusal } from "./api.js";
import { write } from "./dom.js";

/** Asks for the token. */
export class LoginDialog {
  #dialog = document.getElementById("login");
  #form = this.#dialog.querySelector("form");
  #error = this.#dialog.querySelector(".error");
  #session;
  #then = null;

  constructor(session) {
    this.#session = session;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.#dialog.querySelector(".cancel").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => {
      this.#form.reset();
      this.#then = null;
    });
  }

  /** Show it; `then` is called once somebody has logged in. */
  open(then = null) {
    if (this.#dialog.open) return;
    this.#then = then;
    write(this.#error, "");
    const file = this.#session.tokenFile;
    write(
      this.#dialog.querySelector(".where"),
      file
        ? `It lies in ${file}.`
        : "It is console.token of the monitor's config, or in the file that the monitor named at its start.",
    );
    this.#dialog.showModal();
  }

  async #submit() {
    const { token } = this.#form.elements;
    try {
      await this.#session.logIn(token.value);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      write(this.#error, error.message);
      token.select();
      return;
    }
    const then = this.#then;
    this.#dialog.close();
    then?.();
  }
}
