/** Who the person is to the console: what this browser may read and write, and how it logs in and out. */

import { get, post } from "./api.js";

export class Session {
  mayRead = true;
  mayWrite = false;
  tokenFile = null;
  #onChange;

  /** `onChange` is called with the session whenever it is looked up. */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** Ask the monitor; while it does not answer, what was known holds. */
  async look() {
    const found = await get("/api/session").catch(() => null);
    if (!found) return;
    this.mayRead = found.may_read;
    this.mayWrite = found.may_write;
    this.tokenFile = found.token_file;
    this.#onChange(this);
  }

  /** Log in; a wrong token is a `Refusal`. */
  async logIn(token) {
    await post("/api/login", { token });
    await this.look();
  }

  /** Log out. */
  async logOut() {
    await post("/api/logout");
    await this.look();
  }
}
