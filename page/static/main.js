// The page's state, and when it is read and drawn again.

import { ask, Failure, signIn, signedIn } from "./api.js";
import { $, el, replace, say } from "./dom.js";
import { setColours } from "./format.js";
import * as history from "./history.js";
import * as nodes from "./nodes.js";
import * as sections from "./sections.js";

const PAUSE = 10_000;
const state = {
  overview: null, list: [], details: null, use: null, page: 0, opened: new Set(), explained: new Map(), complete: true,
  paused: false, seen: new history.Seen(), reads: 0, reading: 0,
};
const namespace = () => $("namespace").value.trim();
const filter = () => ({ search: $("search").value, only: $("only").value, order: $("order").value });

function drawNodes() {
  if (!state.overview) return [];
  const list = nodes.chosen(state.list, state.details, filter());
  return nodes.draw(list, state, {
    moved(page) {
      state.page = page;
      drawNodes();
      $("nodes").scrollIntoView();
      readUse();
    },
    toggled(uuid) {
      if (!state.opened.delete(uuid)) state.opened.add(uuid);
      drawNodes();
    },
  });
}

function drawOverview(overview) {
  state.overview = overview;
  state.complete = overview.complete || overview.reading;
  state.list = nodes.nodes(overview);
  setColours(overview.tenants.map((one) => one.namespace));
  $("view").hidden = false;
  sections.drawSums(overview);
  sections.drawNotes(overview.notes);
  sections.drawTenants(overview.tenants, choose);
  drawPending();
  drawNodes();
  if (!namespace() || !$("namespaces").children.length) {
    replace($("namespaces"), overview.tenants.map((one) => el("option", { value: one.namespace })));
  }
  if (!overview.reading) {
    state.seen.add(overview);
    performance.mark("whole");
  }
  performance.mark("usable");
}

const drawPending = () => sections.drawPending(state.overview.pending, state.explained, explain);

async function explain(pod) {
  const key = `${pod.namespace}/${pod.pod}`;
  if (state.explained.delete(key)) return drawPending();
  state.explained.set(key, "Asking why, GPU by GPU …");
  drawPending();
  try {
    state.explained.set(key, (await ask("explain", { namespace: pod.namespace, pod: pod.pod })).sections);
  } catch (error) {
    state.explained.set(key, error.message);
  }
  drawPending();
}

function choose(name) {
  $("namespace").value = name;
  again();
}

async function readUse() {
  const shown = drawNodes();
  if (!shown.length) return;
  try {
    state.use = await ask("use", { node: shown });
    say($("use-note"), state.use.notes.join(" "));
    drawNodes();
  } catch (error) {
    state.use = null;
    say($("use-note"), `Live use isn't shown: ${error.message}`);
  }
}

async function readHistory() {
  const own = "What this page has seen since it was opened.";
  try {
    if (!state.viewer.history) return history.draw(state.seen.charts, own);
    history.draw(history.charts(await ask("history", { namespace: namespace() })), "");
  } catch (error) {
    history.draw(state.seen.charts, `${own} Prometheus' history isn't shown: ${error.message}`);
  }
}

async function readEvents() {
  try {
    sections.drawEvents((await ask("events", { namespace: namespace() })).events, "");
  } catch (error) {
    sections.drawEvents([], `Events aren't shown: ${error.message}`);
  }
}

/** Reads everything once. A newer reading makes an older one's answers void. */
async function read() {
  const number = ++state.reads;
  const old = () => number !== state.reads;
  const asked = { namespace: namespace() };
  if (!state.overview) say($("progress"), "Reading nodes …");
  const viewer = state.viewer ?? ask("viewer");
  const status = ask("status", asked);
  for (const one of [viewer, status]) if (one instanceof Promise) one.catch(() => {});
  let overview = await ask("overview", asked);
  if (old()) return;
  if (!overview.reading || !state.overview) drawOverview(overview);
  say($("progress"), overview.reading ? "Nodes are shown; their pods are being read." : "");
  const known = await viewer;
  if (old()) return;
  state.viewer = known;
  say($("viewer"), state.viewer.name ? `as ${state.viewer.name}` : "");
  const found = await status;
  if (overview.reading) overview = await ask("overview", asked);
  if (old()) return;
  state.details = nodes.details(found);
  drawOverview(overview);
  say($("progress"), "");
  await Promise.all([readUse(), readHistory(), readEvents()]);
  performance.mark("all");
}

/** Reads, and shows why it can't. */
async function attempt() {
  state.reading += 1;
  try {
    await read();
    say($("failure"), "");
    $("sign-in").hidden = true;
    $("leave").hidden = !signedIn();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    fail(error);
  } finally {
    state.reading -= 1;
  }
}

function fail(error) {
  say($("progress"), "");
  if (error.status === 401) {
    const refused = signedIn();
    forget();
    $("sign-in").hidden = false;
    say($("failure"), refused ? "The cluster doesn't accept this token, or it has expired." : "");
    if (refused) $("token").focus();
  } else if (error.status === 403) {
    forget(false);
    $("leave").hidden = !signedIn();
    say($("failure"), `${sentence(error.message)} Choose a namespace whose pods you may list.`);
  } else {
    say($("failure"), `${sentence(error.message)}${state.overview ? " What is shown is the last answer." : ""}`);
  }
  performance.mark("failed");
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1).replace(/\.?$/, ".");

/** Forgets what was shown, and with `all` the token: nothing of one viewer stays for the next. */
function forget(all = true) {
  state.reads += 1;
  Object.assign(state, { overview: null, list: [], details: null, use: null, page: 0, seen: new history.Seen() });
  state.explained.clear();
  for (const id of ["list", "tenants", "pending", "events", "history", "sums", "notes", "namespaces"]) $(id).replaceChildren();
  $("view").hidden = true;
  if (all) {
    signIn("");
    state.viewer = undefined;
    say($("viewer"), "");
    $("leave").hidden = true;
  }
}

function again() {
  state.seen = new history.Seen();
  state.page = 0;
  attempt();
}

async function forever() {
  for (;;) {
    const began = performance.now();
    // A large cluster takes longer to read than the pause is: one reading at a time.
    if (!state.paused && !state.reading && !document.hidden && $("sign-in").hidden) await attempt();
    await new Promise((resolve) => setTimeout(resolve, Math.max(PAUSE, 3 * (performance.now() - began))));
  }
}

function theme(kind) {
  document.documentElement.dataset.theme = kind;
  $("theme").textContent = kind === "dark" ? "Light" : "Dark";
  $("theme").setAttribute("aria-label", `${$("theme").textContent} colours`);
}

theme(localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
$("theme").addEventListener("click", () => {
  theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  localStorage.setItem("theme", document.documentElement.dataset.theme);
});
$("pause").addEventListener("click", () => {
  state.paused = !state.paused;
  $("pause").setAttribute("aria-pressed", String(state.paused));
  say($("progress"), state.paused ? "Paused: nothing is read until you go on." : "");
  if (!state.paused) attempt();
});
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn($("token").value);
  $("token").value = "";
  $("sign-in").hidden = true;
  say($("failure"), "");
  attempt().then(() => $("sign-in").hidden && $("view").focus({ preventScroll: true }));
});
$("leave").addEventListener("click", () => {
  forget();
  say($("failure"), "");
  $("sign-in").hidden = false;
  $("token").focus();
});
$("filter").addEventListener("submit", (event) => event.preventDefault());
let typed = 0;
for (const id of ["search", "only", "order"]) {
  $(id).addEventListener("input", () => {
    clearTimeout(typed);
    state.page = 0;
    drawNodes();
    typed = setTimeout(readUse, 400);
  });
}
$("namespace").addEventListener("change", again);
replace($("legend"), el("span", {}, "A bar shows what is granted, a colour for each namespace; the line below it, what is in use."));
forever();
