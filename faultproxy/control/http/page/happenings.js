// What happened, as the events tell it: the feed, the seconds and clients of the time line, outages. All of it is bounded.

import { Lost, Problem, follow, get } from "./api.js";
import { POLL_MS, SHOWN_S, changed, now, series, state, statusIsOld } from "./store.js";

const MOST_FEED = 500;
const MOST_OUTAGES = 200;
const MOST_CLIENTS = 60;
const TICK_MS = 500;
const MOST_BEFORE = 3000;
const ASKED = "level=debug&event=fault.injected,fault.dry_run,outage.started,outage.ended,connection.opened,config.loaded,config.rejected";
const RECENT_MS = 10_000;

/** By proxy: what happened in each second, {attempts, faults}; and of each client, in which half seconds it came, and met a fault. */
export const lanes = new Map();
/** {proxy, rule, fault, from, to}, in milliseconds; to is null while it lasts. */
export const outages = [];
const recent = [];

/** Take what happened before the page was opened, then what happens. */
export async function listen() {
  let last = null;
  while (!state.status) await new Promise((done) => setTimeout(done, 50)); // the server's clock is known then
  for (;;) {
    try {
      const before = await get(`v1/events?${ASKED}&limit=${MOST_BEFORE}`);
      receive(before.events.map((one) => ({ name: one.event, data: one })));
      last = String(before.last);
      break;
    } catch (error) {
      if (!(error instanceof Lost || error instanceof Problem)) throw error;
      await new Promise((done) => setTimeout(done, POLL_MS));
    }
  }
  await follow(`v1/events?${ASKED}`, last, receive, ({ dropped }) => {
    state.dropped += dropped;
    changed(false);
  });
}

let keys = 0;

function receive(events) {
  const faults = [];
  for (const { name, data } of events) {
    const at = Date.parse(data.timestamp);
    if (name === "fault.injected" || name === "fault.dry_run") {
      faults.push({ key: ++keys, at, isDry: name === "fault.dry_run", ...data });
      if (name === "fault.injected") mark(data, at, "faults");
    } else if (name === "connection.opened") mark(data, at, "attempts");
    else if (name === "outage.started") {
      outages.push({ proxy: data.proxy, rule: data.rule, fault: data.fault, from: at, to: null });
      faults.push({ key: ++keys, at, isOutage: true, client_sees: "every client", ...data });
      if (outages.length > MOST_OUTAGES) outages.shift();
    } else if (name === "outage.ended") {
      const its = outages.findLast((one) => one.proxy === data.proxy && one.rule === data.rule && one.to === null);
      if (its) its.to = at;
    } else if (name === "config.loaded" || name === "config.rejected") statusIsOld();
  }
  if (faults.length) {
    recent.push(...faults.filter((one) => !one.isDry).slice(-MOST_FEED));
    recent.splice(0, Math.max(0, recent.length - MOST_FEED));
    state.feed = [...faults.reverse(), ...state.feed].slice(0, MOST_FEED);
  }
  if (events.length) changed(false);
}

function mark(data, at, kind) {
  const lane = lanes.get(data.proxy) ?? { seconds: new Map(), clients: new Map() };
  lanes.set(data.proxy, lane);
  const second = Math.floor(at / 1000);
  const bucket = lane.seconds.get(second) ?? { attempts: 0, faults: 0 };
  lane.seconds.set(second, bucket);
  bucket[kind] += 1;
  const oldest = Math.floor(now() / 1000) - SHOWN_S - 2;
  for (const key of lane.seconds.keys()) {
    if (key >= oldest) break;
    lane.seconds.delete(key);
  }
  const host = hostOf(data.client);
  const ticks = lane.clients.get(host) ?? new Map();
  lane.clients.delete(host); // the busiest stay: who came last stands last
  lane.clients.set(host, ticks);
  const tick = Math.floor(at / TICK_MS) * TICK_MS;
  ticks.set(tick, ticks.get(tick) || kind === "faults");
  for (const key of ticks.keys()) {
    if (key >= oldest * 1000) break;
    ticks.delete(key);
  }
  if (lane.clients.size > MOST_CLIENTS) lane.clients.delete(lane.clients.keys().next().value);
}

/** The address without the port. */
export function hostOf(client) {
  return (client ?? "").replace(/:\d+$/, "");
}

/** What was injected in the last ten seconds: how many a second, into whose connections, by which rules; most first. */
export function happening() {
  const since = now() - RECENT_MS;
  const last = recent.filter((one) => one.at >= since);
  const rates = [...series.values()].reduce((sum, its) => sum + (its.injected ?? 0), 0);
  return {
    rate: rates,
    count: last.length,
    clients: tally(last.filter((one) => one.client), (one) => hostOf(one.client)),
    rules: tally(last, (one) => `${one.proxy} / ${one.rule ?? "by hand"}`),
    latest: recent.at(-1) ?? null,
    outages: outages.filter((one) => one.to === null),
  };
}

function tally(items, name) {
  const counts = new Map();
  for (const item of items) counts.set(name(item), (counts.get(name(item)) ?? 0) + 1);
  return [...counts].sort((one, other) => other[1] - one[1]);
}
