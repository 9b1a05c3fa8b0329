// The live feed of faults, and what they are filtered by.

import { clock } from "./format.js";
import { html } from "./html.js";
import { hostOf } from "./happenings.js";
import { changed, state } from "./store.js";

const MOST_ROWS = 100;

export const storyLink = (connection) => `#connection/${encodeURIComponent(connection)}`;

function matches(one) {
  const { proxy, rule, fault, client } = state.filter;
  return (!proxy || one.proxy === proxy) && (!rule || one.rule === rule) && (!fault || one.fault === fault)
    && (!client || (one.client ?? "").includes(client));
}

function Choice({ name, all }) {
  const chosen = state.filter[name];
  const options = [...new Set([...(chosen ? [chosen] : []), ...all.filter(Boolean)])].sort();
  return html`<label><span>${name}</span><select value=${chosen} onChange=${(event) => filter({ [name]: event.target.value })}>
    <option value="">any</option>${options.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}</select></label>`;
}

export function filter(given) {
  Object.assign(state.filter, given);
  changed();
}

export function hold(isHeld) {
  state.held = isHeld ? state.feed : null;
  changed();
}

export function Feed() {
  const rules = state.proxies.flatMap((proxy) => proxy.rules.map((rule) => [proxy.name, rule.name]));
  const feed = state.held ?? state.feed;
  const all = feed.filter(matches);
  const isFiltered = Object.values(state.filter).some(Boolean);
  return html`<section class="panel feed" aria-labelledby="feed-title">
    <header><h2 id="feed-title">Faults</h2>
      <button type="button" class="quiet" aria-pressed=${state.held !== null} onClick=${() => hold(state.held === null)}>${state.held ? "Held: go on" : "Hold"}</button></header>
    <form class="filters" onSubmit=${(event) => event.preventDefault()} aria-label="Filter the faults">
      <${Choice} name="proxy" all=${state.proxies.map((proxy) => proxy.name)} />
      <${Choice} name="rule" all=${rules.filter(([proxy]) => !state.filter.proxy || proxy === state.filter.proxy).map(([, rule]) => rule)} />
      <${Choice} name="fault" all=${state.feed.map((one) => one.fault)} />
      <label><span>client</span><input type="search" placeholder="any" value=${state.filter.client}
        onInput=${(event) => filter({ client: event.target.value.trim() })} /></label>
    </form>
    ${state.dropped ? html`<p class="warn">This page could not keep up: ${state.dropped} events are missing here. The log has them.</p>` : null}
    ${all.length
      ? html`<div class="faults" tabindex="0" role="group" aria-label="Faults, the newest first"><ol>${all.slice(0, MOST_ROWS).map((one) => html`<${Row} key=${one.key} one=${one} />`)}</ol></div>`
      : html`<p class="empty">${isFiltered
          ? html`No fault of the last ${feed.length} matches. <button type="button" class="quiet" onClick=${() => filter({ proxy: "", rule: "", fault: "", client: "" })}>Show all</button>`
          : "No fault yet. Each appears here at the moment it is injected: whom it met, by which rule, and what the client saw."}</p>`}
    ${all.length > MOST_ROWS ? html`<p class="hint">The newest ${MOST_ROWS} of ${all.length}.</p>` : null}
  </section>`;
}

function Row({ one }) {
  return html`<li class=${one.isDry ? "dry" : ""}>
    <time>${clock(one.at)}</time>
    <span class="what"><b>${one.fault}</b>${one.isDry ? html` <i class="badge">dry run</i>` : null}${one.isOutage ? html` <i class="badge bad">outage</i>` : null} <span class="sees" title="what the client sees">${one.client_sees}</span>${one.fidelity === "degraded" ? html` <i class="badge warn" title=${one.reason}>degraded</i>` : null}</span>
    <span class="whom">${one.connection ? html`<a href=${storyLink(one.connection)}>${one.connection}</a>` : one.proxy}</span>
    <span class="rule">${one.rule ?? "by hand"}</span><span class="whom">${hostOf(one.client)}</span>
  </li>`;
}
