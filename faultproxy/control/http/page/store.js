// What the page knows. All of it is bounded: the page may stay open for days beside a proxy that injects 1,000 faults a second.

import { Lost, Problem, ask, get, segment } from "./api.js";

export const SHOWN_S = 300;
const MOST_SAMPLED = 200;
export const POLL_MS = 1000;
const MOST_POLL_MS = 5000;
const DRAW_MS = 250;
const SAMPLED = ["t", "connections", "up", "down"];

export const state = {
  status: null,
  proxies: [],
  connections: [],
  lostSince: null,
  wantsToken: false,
  dropped: 0,
  feed: [],
  held: null,
  etag: null,
  filter: { proxy: "", rule: "", fault: "", client: "" },
  view: "watch",
  story: null,
  notes: [],
  folded: new Set(),
  skewMs: 0,
};

/** By proxy: the last five minutes, a sample a second: {t, connections, up, down}, each an array. */
export const series = new Map();
/** By connection: [milliseconds, bytes upstream, bytes downstream], as long as it is polled. */
export const samples = new Map();

let draw = () => {};
let drawn = 0;
let isDue = false;
let seen = null;

/** Have the page drawn by this function, whenever something changes. */
export function drawWith(draws) {
  draw = draws;
  changed();
}

/** Something changed: draw soon. What people do is shown in the next frame, what the network does four times a second. */
export function changed(isUrgent = true) {
  if (isDue && !isUrgent) return;
  const wait = isUrgent ? 0 : Math.max(0, drawn + DRAW_MS - performance.now());
  isDue = true;
  setTimeout(() => requestAnimationFrame(() => {
    if (!isDue) return;
    isDue = false;
    drawn = performance.now();
    draw();
  }), wait);
}

/** How far the server's clock is ahead; an answer takes a while, so what is below two seconds is none. */
function skewOf(status) {
  if (status === seen) return state.skewMs;
  seen = status;
  const skew = Date.parse(status.time) - Date.now();
  return Math.abs(skew) > 2000 ? skew : 0;
}

/** The server's clock now, in milliseconds. */
export function now() {
  return Date.now() + state.skewMs;
}

// ---- notes: what came of what one did ----------------------------------------------------------------------------

let notes = 0;

export function note(text, isBad = false) {
  const one = { id: ++notes, text, isBad };
  state.notes = [...state.notes.slice(-2), one];
  setTimeout(() => {
    state.notes = state.notes.filter((other) => other !== one);
    changed();
  }, isBad ? 12_000 : 4000);
  changed();
}

/** Do something; say what came of it. Returns whether it was done. */
export async function attempt(act, said) {
  try {
    await act();
    if (said) note(said);
    await refresh();
    return true;
  } catch (error) {
    if (!(error instanceof Problem || error instanceof Lost)) throw error;
    note([error.message, ...(error.errors ?? [])].join("\n"), true);
    return false;
  }
}

// ---- polling -----------------------------------------------------------------------------------------------------

let before = null;
let polls = 0;

/** The configuration changed: ask for the status at the next poll. */
export function statusIsOld() {
  polls = 0;
}

export async function refresh() {
  const started = performance.now();
  try {
    if (polls++ % 5 === 0 || state.lostSince) state.status = await get("v1/status");
    state.skewMs = skewOf(state.status);
    const [{ value: proxies, etag }, connections] = await Promise.all([ask("GET", "v1/proxies"), get("v1/connections?state=open&limit=200")]);
    state.lostSince = null;
    state.wantsToken = false;
    state.etag = etag;
    take(proxies, connections);
  } catch (error) {
    if (error instanceof Problem && error.status === 401) state.wantsToken = true;
    else if (error instanceof Lost || error instanceof Problem) {
      state.lostSince ??= Date.now();
      before = null;
    } else throw error;
  }
  changed(false);
  return performance.now() - started;
}

function take(proxies, connections) {
  state.proxies = proxies.proxies;
  state.connections = connections.connections.map((one) => ({ ...one, at: now() }));
  const at = performance.now() / 1000;
  const names = new Set(state.proxies.map((proxy) => proxy.name));
  for (const name of series.keys()) if (!names.has(name)) series.delete(name);
  for (const proxy of state.proxies) sample(proxy, at, before?.get(proxy.name));
  before = new Map(state.proxies.map((proxy) => [proxy.name, { at, ...totals(proxy) }]));
  for (const one of state.connections.slice(0, MOST_SAMPLED)) sampleBytes(one);
  while (samples.size > MOST_SAMPLED) samples.delete(samples.keys().next().value);
}

function totals(proxy) {
  const injected = (proxy.rules ?? []).reduce((sum, rule) => sum + rule.injected, 0);
  return { connections: proxy.connections, up: proxy.bytes_upstream, down: proxy.bytes_downstream, injected };
}

function sample(proxy, at, last) {
  const its = series.get(proxy.name) ?? { t: [], connections: [], up: [], down: [] };
  series.set(proxy.name, its);
  const total = totals(proxy);
  const passed = last ? Math.max(0.05, at - last.at) : 1;
  const speed = (key) => (last && total[key] >= last[key] ? (total[key] - last[key]) / passed : last ? 0 : null);
  its.t.push(now() / 1000);
  for (const key of SAMPLED.slice(1)) its[key].push(speed(key));
  while (its.t[0] < its.t.at(-1) - SHOWN_S) for (const key of SAMPLED) its[key].shift();
  its.injected = speed("injected") ?? 0;
}

function sampleBytes(one) {
  const its = samples.get(one.connection) ?? [];
  samples.delete(one.connection);
  samples.set(one.connection, its);
  its.push([now(), one.bytes_upstream, one.bytes_downstream]);
  if (its.length > SHOWN_S) its.splice(0, its.length - SHOWN_S);
}

/** Poll for ever; less often where an answer takes long, and not while nobody looks. */
export async function poll() {
  for (;;) {
    const took = document.hidden ? 0 : await refresh().catch((error) => { reportError(error); return 0; });
    await new Promise((done) => setTimeout(done, Math.min(MOST_POLL_MS, Math.max(POLL_MS - took, 4 * took))));
  }
}

// ---- changes -----------------------------------------------------------------------------------------------------

export const rulePath = (proxy, rule) => `v1/proxies/${segment(proxy)}/rules/${segment(rule)}`;
export const proxyPath = (proxy) => `v1/proxies/${segment(proxy)}`;
