/** Light or dark: the system's choice until somebody makes another, which this browser remembers. */

const ORDER = ["auto", "light", "dark"];
const KEY = "sidebeat-theme";
const SYSTEM = matchMedia("(prefers-color-scheme: dark)");

const listeners = new Set();
const colours = new Map();
const probe = document.createElement("i");

/** Bind the button that goes through the choices, and show what was chosen. */
export function bindTheme(button) {
  probe.hidden = true;
  document.body.append(probe);
  const show = (choice) => {
    document.documentElement.dataset.theme = choice;
    button.setAttribute("aria-label", `Theme: ${choice}`);
    button.title = `Theme: ${choice}`;
    changed();
  };
  button.addEventListener("click", () => {
    const choice = ORDER[(ORDER.indexOf(document.documentElement.dataset.theme) + 1) % ORDER.length];
    remember(choice);
    show(choice);
  });
  SYSTEM.addEventListener("change", changed);
  show(remembered());
}

/** Be called when colours change. */
export function onTheme(listener) {
  listeners.add(listener);
}

/** What a colour's name in the style sheet stands for just now: a canvas knows no variables. */
export function colour(name) {
  if (!colours.has(name)) {
    probe.style.color = `var(${name})`;
    colours.set(name, getComputedStyle(probe).color);
  }
  return colours.get(name);
}

function changed() {
  colours.clear();
  for (const listener of listeners) listener();
}

function remembered() {
  try {
    const choice = localStorage.getItem(KEY);
    return ORDER.includes(choice) ? choice : ORDER[0];
  } catch {
    return ORDER[0]; // a browser that keeps nothing
  }
}

function remember(choice) {
  try {
    localStorage.setItem(KEY, choice);
  } catch {
    return; // it holds for as long as the page is open
  }
}
