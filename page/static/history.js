// The last hour as curves: from Prometheus where the page has one, else what was seen since the page was opened.

import { $, el, replace, say, svg } from "./dom.js";
import { memory } from "./format.js";

const WIDTH = 400;
const HEIGHT = 90;
const HOUR = 3600;

/** Samples of this tab: a fallback that needs no right. */
export class Seen {
  constructor() {
    this.points = [];
  }

  add(overview, now = Date.now() / 1000) {
    if (overview.reading) return;
    const { memory: amounts, cores, shares } = overview.total;
    this.points.push({ at: now, granted: amounts.granted, total: amounts.total, cores: cores.granted / 100, shares });
    this.points = this.points.filter((point) => point.at > now - HOUR);
  }

  get charts() {
    const line = (name, key) => ({ name, points: this.points.map((point) => [point.at, point[key]]) });
    return [
      { title: "Memory", write: memory, lines: [line("granted", "granted"), line("total", "total")] },
      { title: "Compute granted, in GPUs", write: plain, lines: [line("granted", "cores")] },
      { title: "Shares", write: plain, lines: [line("shares", "shares")] },
    ];
  }
}

/** Returns the charts of a document of Prometheus. */
export function charts({ times, series }) {
  const line = (name, key, scale = 1) => ({ name, points: (series[key] ?? []).map((value, at) => [times[at], value === null ? null : value * scale]) });
  const lines = [line("in use", "memoryUsed", 2 ** -20), line("granted", "memoryGranted", 2 ** -20)];
  if (series.memoryTotal) lines.push(line("total", "memoryTotal", 2 ** -20));
  return [
    { title: "Memory", write: memory, lines },
    { title: "GPUs busy", write: plain, lines: [line("busy", "gpusBusy")] },
    { title: "Shares", write: plain, lines: [line("shares", "shares")] },
  ];
}

const plain = (value) => value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 2 : 0 });

export function draw(found, note, now = Date.now() / 1000) {
  say($("history-note"), note);
  replace($("history"), found.map((chart) => figure(chart, now)));
}

function figure({ title, write, lines }, now) {
  const values = lines.flatMap((line) => line.points.map((point) => point[1])).filter((value) => value !== null);
  const top = Math.max(1e-9, ...values) * 1.08;
  const x = (at) => ((at - (now - HOUR)) / HOUR) * WIDTH;
  const y = (value) => HEIGHT - (value / top) * HEIGHT;
  const last = (line) => line.points.findLast((point) => point[1] !== null)?.[1];
  const said = lines.map((line) => (last(line) === undefined ? `${line.name} not known` : `${line.name} ${write(last(line))}`)).join(", ");
  const parts = lines.flatMap((line, at) => runs(line.points).map((run) => svg("polyline", { class: `curve curve-${at}`, points: run.map(([when, value]) => `${x(when).toFixed(1)},${y(value).toFixed(1)}`).join(" ") })));
  return el("figure", {},
    el("figcaption", {}, el("strong", {}, title), lines.map((line, at) => [el("span", { class: `key key-${at}`, "aria-hidden": "true" }), `${line.name}${last(line) === undefined ? "" : ` ${write(last(line))}`}`])),
    svg("svg", { viewBox: `0 -4 ${WIDTH} ${HEIGHT + 22}`, preserveAspectRatio: "none", role: "img", "aria-label": `${title} over the last hour; now: ${said}` },
      svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }),
      svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: 0, y2: 0 }),
      parts),
    el("p", { class: "quiet ends" }, el("span", {}, "an hour ago"), el("span", {}, values.length ? `top: ${write(top / 1.08)}` : "no value yet"), el("span", {}, "now")));
}

/** Splits a line where values are missing; a single point becomes a short stroke. */
function runs(points) {
  const found = [];
  let run = [];
  for (const point of [...points, [0, null]]) {
    if (point[1] !== null) run.push(point);
    else if (run.length) {
      found.push(run.length === 1 ? [run[0], [run[0][0] + 30, run[0][1]]] : run);
      run = [];
    }
  }
  return found;
}
