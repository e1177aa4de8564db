/** Puts the page together: news come in, and once a frame what they changed is shown. */

import { Keyed, mark, write } from "./dom.js";
import { Feed } from "./feed.js";
import { Histories } from "./history.js";
import { LoginDialog } from "./login.js";
import { PoolSection } from "./pool.js";
import { Session } from "./session.js";
import { Announcer, showLink, showSummary } from "./summary.js";
import { bindTheme } from "./theme.js";
import { Timeline } from "./timeline.js";
import { WishDialog } from "./wishes.js";

const TOAST_MS = 6_000;

const find = (id) => document.getElementById(id);
const announcer = new Announcer();
const session = new Session(showSession);
const login = new LoginDialog(session);

/** What every part of the page shares. */
const page = {
  choice: { text: "", onlyTrouble: false, trend: "rps" },
  histories: new Histories(schedule),
  timeline: new Timeline(),
  wishes: new WishDialog(session, login, tell),
  show: schedule,
  /** Have a button say that it takes a token; pressed, it asks for one. */
  lock(button) {
    mark(button, "aria-disabled", !session.mayWrite && "true");
    mark(button, "title", session.mayWrite ? null : "Log in to operate");
  },
};
const pools = new Keyed(find("pools"), (key) => new PoolSection(page, key));

let status = null;
let shownAt = null;
let isScheduled = false;
let couldRead = true;
let toastOver = 0;

/** Show the latest in the next frame; a page that nobody sees waits until somebody does. */
function schedule() {
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(() => {
    isScheduled = false;
    if (status) show();
  });
}

function show() {
  performance.mark("show");
  const now = status.now_ms;
  pools.update(Object.entries(status.pools).map(([key, pool]) => [key, { pool, now }]));
  showSummary(status);
  announcer.update(status);
  mark(find("waiting"), "hidden", true);
  performance.measure("update", "show");
  performance.clearMeasures("update"); // whoever observes has seen it; the browser would keep them all
  performance.clearMarks("show");
}

/** Tell the person what became of a wish. */
function tell(text) {
  write(find("toast"), text);
  mark(find("toast"), "hidden", false);
  clearTimeout(toastOver);
  toastOver = setTimeout(() => mark(find("toast"), "hidden", true), TOAST_MS);
}

function showSession({ mayRead, mayWrite }) {
  write(find("session"), mayWrite ? "Log out" : "Log in");
  schedule();
  if (mayRead === couldRead) return;
  couldRead = mayRead;
  if (mayRead) feed.open();
  else {
    write(find("headline-text"), "Log in to look.");
    write(find("waiting"), "Away from its own machine, this console shows nothing without its token.");
    login.open();
  }
}

const feed = new Feed("/api/stream", {
  status(latest) {
    status = latest;
    shownAt = Date.now();
    page.histories.add(status);
    write(find("namespace"), status.namespace);
    schedule();
  },
  event: (event) => page.timeline.add(event),
  missed: () => void page.timeline.load(),
  opened() {
    void page.timeline.load();
    void session.look();
  },
  refused: () => void session.look(),
  link: (link) => showLink(link, shownAt),
});

function bind() {
  bindTheme(find("theme"));
  find("session").addEventListener("click", () => (session.mayWrite ? void session.logOut() : login.open()));
  find("filter").addEventListener("input", ({ target }) => choose({ text: target.value.trim().toLowerCase() }));
  find("only-trouble").addEventListener("change", ({ target }) => choose({ onlyTrouble: target.checked }));
  find("trend").addEventListener("change", ({ target }) => choose({ trend: target.value }));
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, select, textarea, dialog");
    if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    find("filter").focus();
  });
}

function choose(changed) {
  Object.assign(page.choice, changed);
  schedule();
}

bind();
feed.open();
