// Elements from data. Text is always set as text, never as HTML: names come from whoever may create pods.

const SVG = "http://www.w3.org/2000/svg";

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "onclick") made.addEventListener("click", value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** Returns an element of HTML with attributes and children. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Returns an element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export const $ = (id) => document.getElementById(id);

/** Replaces an element's content, and keeps the focus where it was: on the element with the same data-key. */
export function replace(target, ...children) {
  const key = target.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  target.replaceChildren(...children.flat(Infinity).filter((child) => child !== null));
  if (key !== undefined) {
    for (const one of target.querySelectorAll("[data-key]")) if (one.dataset.key === key) return one.focus();
  }
}

/** Sets text only where it differs, so that a screen reader isn't told twice. */
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Returns a table with a head; numeric columns end with "#". */
export function table(caption, heads, rows) {
  const numeric = heads.map((head) => head.endsWith("#"));
  const cells = (row) =>
    row.map((cell, at) => el(at ? "td" : "th", at ? { class: numeric[at] ? "number" : "name" } : { scope: "row", class: "name" }, cell));
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", { class: "hidden" }, caption),
      el("thead", {}, el("tr", {}, heads.map((head, at) => el("th", { scope: "col", class: numeric[at] ? "number" : null }, head.replace(/#$/, ""))))),
      el("tbody", {}, rows.map((row) => el("tr", {}, cells(row)))),
    ),
  );
}
