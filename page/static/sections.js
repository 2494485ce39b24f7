// Sums, notes, tenants, pods that wait, and events.

import { $, el, replace, table } from "./dom.js";
import { age, colour, count, memory, part, percent } from "./format.js";

export function drawSums(overview) {
  const { total, nodes, pending, reading, complete } = overview;
  const closed = nodes.filter((node) => !node.open).length;
  const tile = (name, value, more = "", kind = "") => el("div", { class: kind }, el("dt", {}, name), el("dd", {}, value, more ? el("small", {}, more) : ""));
  const unknown = reading ? "…" : null;
  replace($("sums"), [
    tile("GPUs", total.gpus.toLocaleString("en"), `${count(nodes.length, "node")}${closed ? `, ${closed} closed` : ""}`, closed ? "warn" : ""),
    tile("Memory granted", unknown ?? (complete && total.memory.total ? percent(total.memory.granted / total.memory.total) : memory(total.memory.granted)), unknown ?? (complete ? part(total.memory.granted, total.memory.total) : "")),
    complete || reading ? tile("Memory free", unknown ?? memory(total.memory.free)) : "",
    tile("Compute granted", unknown ?? (complete && total.cores.total ? percent(total.cores.granted / total.cores.total) : `${total.cores.granted} %`), unknown ?? (complete ? "" : "of one GPU")),
    tile("Shares", unknown ?? total.shares.toLocaleString("en")),
    complete || reading ? tile("Unhealthy GPUs", String(total.unhealthyGpus), "", total.unhealthyGpus ? "bad" : "") : "",
    tile("Pods that wait", unknown ?? String(pending.length), "", pending.length ? "warn" : ""),
  ].filter(Boolean));
}

export function drawNotes(notes) {
  replace($("notes"), notes.map((note) => el("p", { class: "note" }, note)));
}

export function drawTenants(tenants, choose) {
  if (!tenants.length) return replace($("tenants"), el("p", { class: "quiet" }, "No container has a GPU."));
  const rows = tenants.map((one) => [
    el("button", { type: "button", class: "link", "data-key": `tenant-${one.namespace}`, onclick: () => choose(one.namespace) },
      el("span", { class: `swatch ${colour(one.namespace)}`, "aria-hidden": "true" }), one.namespace),
    memory(one.memory), `${(one.cores / 100).toLocaleString("en", { maximumFractionDigits: 2 })}`,
    ...[one.gpus, one.shares, one.pods, one.pending].map((number) => number.toLocaleString("en")),
  ]);
  replace($("tenants"), table("What each namespace has", ["Namespace", "Memory#", "Compute in GPUs#", "On GPUs#", "Shares#", "Pods#", "Waiting#"], rows));
}

/** `explained`: what was asked for by pod, or a text while it is being read. */
export function drawPending(pods, explained, toggled, most = 20) {
  $("pending-section").hidden = !pods.length;
  replace($("pending"), [
    ...pods.slice(0, most).map((pod) => {
      const key = `${pod.namespace}/${pod.pod}`;
      const found = explained.get(key);
      const since = pod.since ? `, for ${age(pod.since)}` : "";
      return el("div", { class: "wait" },
        el("button", { type: "button", class: "open", "data-key": `wait-${key}`, "aria-expanded": String(found !== undefined), onclick: () => toggled(pod) }, `${key}${since}: ${pod.asks}`),
        el("p", { class: pod.reason === "Starting" ? "quiet" : "remark warn" }, `${pod.reason}${pod.message ? `: ${pod.message}` : ""}`),
        found === undefined ? "" : typeof found === "string" ? el("p", { class: "quiet" }, found) : explanation(found));
    }),
    pods.length > most ? el("p", { class: "quiet" }, `${count(pods.length - most, "more pod waits", "more pods wait")}: choose a namespace to see them.`) : null,
  ].filter((one) => one !== null));
}

function explanation(sections) {
  return el("div", { class: "facts" }, sections.map((section) => [
    el("h3", {}, section.title),
    el("ul", {}, section.facts.map((fact) => el("li", { class: fact.kind === "fail" ? "remark" : null },
      `${fact.label ? `${fact.label}: ` : ""}${fact.value}`, fact.source ? el("span", { class: "quiet" }, ` (${fact.source})`) : ""))),
  ]));
}

export function drawEvents(found, problem, most = 50) {
  if (problem) return replace($("events"), el("p", { class: "quiet" }, problem));
  if (!found.length) return replace($("events"), el("p", { class: "quiet" }, "No event of unigpu's in the time that the API server remembers."));
  const rows = found.slice(0, most).map((one) => [
    `${age(one.last)} ago`, one.reason, `${one.kind} ${one.namespace && one.kind !== "Node" ? `${one.namespace}/` : ""}${one.name}`,
    `${one.message}${one.count > 1 ? ` (${one.count} times)` : ""}`,
  ]);
  replace($("events"), table("Events, the newest first", ["When", "Reason", "About", "What happened"], rows));
}
