// The list of nodes: filter, order, one page at a time, each GPU with its shares and its use.

import { $, el, replace, say, table } from "./dom.js";
import { colour, count, memory, part, percent } from "./format.js";

export const PER_PAGE = 20;

/** The overview's GPUs are lists, for brevity. */
function gpu(found) {
  const [index, model, uuid, total, granted, free, cores, shares, whole, foreign, fault, cordon] = found;
  return { index, model, uuid, total, granted, free, cores, shares, whole, foreign, fault, cordon };
}

/** A node, with what ordering needs; what only drawing and searching need is made when it is asked for. */
class Node {
  #lists;
  #gpus;
  #text;

  constructor({ name, condition, open, mode, problem, gpus }) {
    Object.assign(this, { name, condition, open, mode, problem });
    this.#lists = gpus;
    this.granted = this.total = this.shares = 0;
    let free = 0;
    let empty = false;
    let trouble = !open || Boolean(problem);
    // Of a large cluster these are tens of thousands, before anything is drawn.
    for (const [, , , total, granted, left, , shares, , foreign, fault, cordon] of gpus) {
      this.granted += granted;
      this.total += total ?? 0;
      this.shares += shares;
      free += left;
      empty ||= Boolean(total) && left === total && !shares;
      trouble ||= Boolean(fault || cordon || foreign) || total === null || granted > total;
    }
    this.free = open ? free : 0;
    this.empty = open && empty;
    this.trouble = trouble;
  }

  get gpus() {
    return (this.#gpus ??= this.#lists.map(gpu));
  }

  get text() {
    return (this.#text ??= [this.name, ...this.gpus.flatMap((one) => [one.model ?? "", one.uuid])].join(" ").toLowerCase());
  }
}

/** Reads the overview's nodes. */
export const nodes = (overview) => overview.nodes.map((node) => new Node(node));

const ORDERS = {
  name: (a, b) => (a.name < b.name ? -1 : 1),
  free: (a, b) => b.free - a.free || ORDERS.name(a, b),
  shares: (a, b) => b.shares - a.shares || ORDERS.name(a, b),
};
const ONLY = { "": () => true, trouble: (node) => node.trouble, free: (node) => node.empty, room: (node) => node.free > 0 };

/** Returns the nodes that a filter leaves, in its order. `details` finds namespaces and pods, once they are known. */
export function chosen(all, details, { search, only, order }) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (node) => words.every((word) => node.text.includes(word) || (details?.get(node.name)?.text.includes(word) ?? false));
  return all.filter((node) => ONLY[only](node) && (words.length === 0 || matches(node))).sort(ORDERS[order]);
}

/** Returns each node's containers by GPU, with the text that a search looks at. */
export function details(status) {
  return new Map(
    status.nodes.map((node) => {
      const tenants = node.gpuList.flatMap((one) => one.containers);
      const text = tenants.map((one) => `${one.namespace}/${one.pod} ${one.container}`).join(" ").toLowerCase();
      return [node.name, { text, gpus: new Map(node.gpuList.map((one) => [one.uuid, one])) }];
    }),
  );
}

/** Draws one page of nodes. `state`: page, opened, details, use, complete; `moved`, `opened` are called by buttons. */
export function draw(list, state, { moved, toggled }) {
  const pages = Math.max(1, Math.ceil(list.length / PER_PAGE));
  state.page = Math.min(state.page, pages - 1);
  const seen = list.slice(state.page * PER_PAGE, (state.page + 1) * PER_PAGE);
  say($("found"), list.length ? `${count(list.length, "node")}, page ${state.page + 1} of ${pages}` : "No node matches.");
  replace($("list"), seen.map((node) => nodeElement(node, state, toggled)));
  const button = (text, page, key) =>
    el("button", { type: "button", "data-key": key, disabled: page < 0 || page >= pages, onclick: () => moved(page) }, text);
  replace($("pager"), pages === 1 ? [] : [
    button("First", state.page === 0 ? -1 : 0, "first"),
    button("Previous", state.page - 1, "previous"),
    el("span", {}, `${state.page + 1} / ${pages}`),
    button("Next", state.page + 1, "next"),
    button("Last", state.page === pages - 1 ? pages : pages - 1, "last"),
  ]);
  return seen.map((node) => node.name);
}

function nodeElement(node, state, toggled) {
  const id = `node-${node.name}`;
  const remarks = [];
  if (!node.open) remarks.push(el("p", { class: "remark warn" }, `${node.condition}: it takes no new pods`));
  if (node.problem) remarks.push(el("p", { class: "remark" }, node.problem));
  const free = state.complete ? `, ${memory(node.free)} free` : "";
  return el(
    "section",
    { class: "node", "aria-labelledby": id },
    el("header", {}, el("h3", { id }, node.name), el("p", {}, `${part(node.granted, node.total)} granted${free}, ${count(node.shares, "share")}`)),
    remarks,
    el(
      "div",
      { class: "scroll" },
      el(
        "table",
        { class: "gpus", "aria-labelledby": id },
        el("thead", {}, el("tr", {}, ["GPU", "Memory", "", "Compute", "", "Shares"].map(head))),
        el("tbody", {}, node.gpus.flatMap((one) => gpuRows(node, one, state, toggled))),
      ),
    ),
  );
}

const head = (text) => (text ? el("th", { scope: "col", class: text === "Shares" ? "number" : null }, text) : el("td"));

function gpuRows(node, one, state, toggled) {
  const known = state.details?.get(node.name)?.gpus.get(one.uuid);
  const use = state.use?.gpus[one.uuid];
  const open = state.opened.has(one.uuid);
  const name = one.index === null ? one.uuid : `GPU ${one.index}`;
  const granted = one.total === null ? memory(one.granted) : part(one.granted, one.total);
  const used = use?.memoryUsed != null ? `${memory(use.memoryUsed)} in use` : "";
  const busy = use?.utilisation != null ? `${percent(use.utilisation)} busy` : "";
  const remarks = [];
  if (one.fault) remarks.push(el("p", { class: "remark" }, `Unhealthy: ${one.fault}`));
  if (one.cordon) remarks.push(el("p", { class: "remark warn" }, `Cordoned: ${one.cordon}`));
  if (one.foreign) remarks.push(el("p", { class: "remark" }, `${memory(one.foreign)} in use without a grant`));
  if (one.total === null) remarks.push(el("p", { class: "remark warn" }, "The node's inventory doesn't have this GPU"));
  if (one.total !== null && one.granted > one.total) remarks.push(el("p", { class: "remark" }, "More is granted than the GPU has"));
  const button = el(
    "button",
    { type: "button", class: "open", "data-key": one.uuid, "aria-expanded": String(open), "aria-label": `${name} of ${node.name}: its containers`, onclick: () => toggled(one.uuid) },
    name,
  );
  const rows = [
    el(
      "tr",
      {},
      el("th", { scope: "row", class: "gpu" }, button, el("div", { class: "model" }, one.model ?? "model not known")),
      el("td", { class: "bars" }, memoryBar(one, known), inUse(use?.memoryUsed != null && one.total ? use.memoryUsed / one.total : null)),
      el("td", {}, granted, used ? el("div", { class: "model" }, used) : ""),
      el("td", { class: "bars" }, computeBar(one, known), inUse(use?.utilisation ?? null)),
      el("td", {}, `${one.cores} of 100 %`, busy ? el("div", { class: "model" }, busy) : ""),
      el("td", { class: "number" }, String(one.shares)),
    ),
  ];
  if (remarks.length) rows.push(el("tr", { class: "more" }, el("td", { colspan: 6 }, remarks)));
  if (open) rows.push(el("tr", { class: "more" }, el("td", { colspan: 6 }, containers(name, node, one, known, state))));
  return rows;
}

function segment(kind, ratio, title) {
  const made = el("span", { class: kind, title });
  made.style.width = `${Math.min(100, ratio * 100)}%`;
  return made;
}

/** A bar is a picture of the numbers beside it, so screen readers skip it. */
function bar(one, segments) {
  return el("div", { class: `bar${one.fault ? " sick" : ""}`, "aria-hidden": "true" }, segments);
}

function memoryBar(one, known) {
  if (!one.total) return bar(one, []);
  const shares = (known?.containers ?? []).filter((share) => share.memory || share.whole);
  const segments = known
    ? shares.map((share) => segment(colour(share.namespace), (share.whole ? one.total : share.memory) / one.total, `${share.namespace}/${share.pod}: ${memory(share.memory || one.total)}`))
    : [segment("granted", one.granted / one.total, "")];
  if (one.foreign) segments.push(segment("foreign", one.foreign / one.total, `without a grant: ${memory(one.foreign)}`));
  return bar(one, segments);
}

function computeBar(one, known) {
  const segments = known
    ? known.containers.filter((share) => share.cores).map((share) => segment(colour(share.namespace), share.cores / 100, `${share.namespace}/${share.pod}: ${share.cores} %`))
    : one.cores ? [segment("granted", one.cores / 100, "")] : [];
  return bar(one, segments);
}

function inUse(ratio) {
  const made = el("div", { class: "in-use", "aria-hidden": "true" });
  if (ratio !== null) made.append(segment("", ratio, ""));
  return made;
}

function containers(name, node, one, known, state) {
  if (!known) return el("p", { class: "quiet" }, one.shares ? "Its containers are being read." : "No container has a share of it.");
  if (!known.containers.length) return el("p", { class: "quiet" }, "No container has a share of it.");
  const rows = known.containers.map((share) => {
    const use = state.use?.containers.find((found) => found.uuid === one.uuid && found.pod === share.pod && found.container === share.container && found.namespace === share.namespace);
    const cores = share.whole ? "whole" : share.cores ? `${share.cores}${share.ceiling > share.cores ? ` to ${share.ceiling}` : ""} %` : "any";
    const limits = (share.limitsInForce ? (share.limitsChanged ? "changed" : "as requested") : "changed, not in force yet") + (share.heldMemory ? `, ${memory(share.heldMemory)} still held` : "");
    return [
      el("span", {}, el("span", { class: `swatch ${colour(share.namespace)}`, "aria-hidden": "true" }), `${share.namespace}/${share.pod}`),
      share.container,
      share.memory ? memory(share.memory) : "any",
      use ? memory(use.memoryUsed) : "",
      cores,
      use?.computeRatio != null ? percent(use.computeRatio) : "",
      share.dialect ?? "",
      limits,
    ];
  });
  return table(`Containers on ${name} of ${node.name}`, ["Pod", "Container", "Memory#", "In use#", "Compute#", "Uses#", "Dialect", "Limits"], rows);
}
