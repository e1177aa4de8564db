/**
 * Making nodes, and changing only what changed. Data goes in as text and never as markup: the words of a
 * backend come from the network.
 */

const SVG = "http://www.w3.org/2000/svg";

/** An element. A function among the properties listens (`onclick`), `true` is an empty attribute, null is none. */
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else mark(node, name, value);
  }
  node.append(...children);
  return node;
}

/** A shape out of the sprite in index.html; what it means stands beside it in words. */
export function shape(name) {
  const node = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  mark(node, "class", "shape");
  mark(node, "aria-hidden", "true");
  mark(use, "href", `#shape-${name}`);
  node.append(use);
  return node;
}

/** Have a shape be another one. */
export function reshape(node, name) {
  mark(node.firstChild, "href", `#shape-${name}`);
}

/** Set the text of a node that holds nothing else. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set an attribute; null or false takes it away. */
export function mark(node, name, value) {
  const wanted = value === null || value === false ? null : value === true ? "" : String(value);
  if (node.getAttribute(name) === wanted) return;
  if (wanted === null) node.removeAttribute(name);
  else node.setAttribute(name, wanted);
}

/** The children of a node, one for each key: made once, updated in place, moved only where the order changed. */
export class Keyed {
  #parent;
  #create;
  #parts = new Map();
  #before;

  /** `create(key)` returns a part: `{ node, update(item) }`, and `destroy()` if it has something to end. */
  constructor(parent, create) {
    this.#parent = parent;
    this.#create = create;
    this.#before = parent.lastChild; // what is there already stays in front
  }

  /** Show these pairs of key and item, in this order, and nothing else. */
  update(pairs) {
    const wanted = new Map(pairs);
    for (const [key, part] of this.#parts) {
      if (wanted.has(key)) continue;
      part.destroy?.();
      part.node.remove();
      this.#parts.delete(key);
    }
    let place = this.#before ? this.#before.nextSibling : this.#parent.firstChild;
    for (const [key, item] of wanted) {
      const part = this.#part(key);
      part.update(item);
      if (part.node === place) place = place.nextSibling;
      else this.#parent.insertBefore(part.node, place);
    }
  }

  #part(key) {
    if (!this.#parts.has(key)) this.#parts.set(key, this.#create(key));
    return this.#parts.get(key);
  }
}
