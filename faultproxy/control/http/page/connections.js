// The open connections, each with a button a fault; and the story of one.

import { Bytes } from "./charts.js";
import { Lost, Problem, ask, get, segment } from "./api.js";
import { brief, bytes, clock, flow, lasting, plural } from "./format.js";
import { storyLink } from "./feed.js";
import { Component, html } from "./html.js";
import { attempt, now, samples, state } from "./store.js";

const MOST_ROWS = 50;
const BY_HAND = { reset: "Reset", hang: "Hang", half_close: "Half-close" };
const path = (connection) => `v1/connections/${segment(connection)}`;

const inject = (connection, fault) => attempt(
  () => ask("POST", `${path(connection)}/faults`, { body: { [fault]: {} } }), `${connection}: ${fault} injected`,
);

function Buttons({ connection }) {
  return html`<div class="buttons" role="group" aria-label=${`Inject into ${connection}`}>${Object.entries(BY_HAND).map(([fault, text]) =>
    html`<button type="button" key=${fault} aria-label=${`${text} ${connection}`} onClick=${() => inject(connection, fault)}>${text}</button>`)}</div>`;
}

const age = (one) => one.age_ms / 1000 + (now() - one.at) / 1000;

export function Connections() {
  const all = state.connections;
  const total = state.proxies.reduce((sum, proxy) => sum + proxy.open, 0);
  return html`<section class="panel connections" aria-labelledby="connections-title">
    <header><h2 id="connections-title">Open connections</h2><span class="hint">${total ? `${plural(total, "connection")}${total > MOST_ROWS ? `, the newest ${MOST_ROWS} here` : ""}` : ""}</span></header>
    ${all.length ? html`<div class="scroll" tabindex="0" role="group" aria-labelledby="connections-title"><table>
      <thead><tr><th scope="col">connection</th><th scope="col">client</th><th scope="col" class="number">age</th><th scope="col" class="number">up</th>
        <th scope="col" class="number">down</th><th scope="col">rule</th><th scope="col">inject now</th></tr></thead>
      <tbody>${all.slice(0, MOST_ROWS).map((one) => html`<tr key=${one.connection}>
        <th scope="row"><a href=${storyLink(one.connection)}>${one.connection}</a></th><td>${one.client}</td>
        <td class="number">${lasting(age(one))}</td><td class="number">${bytes(one.bytes_upstream)}</td><td class="number">${bytes(one.bytes_downstream)}</td>
        <td>${one.rule ?? "–"}${one.faults?.length ? html` <i class="badge bad">${one.faults.join(", ")}</i>` : null}</td>
        <td><${Buttons} connection=${one.connection} /></td></tr>`)}</tbody></table></div>`
      : html`<p class="empty">${state.proxies.length
          ? html`No connection is open. Point a client at ${state.proxies.slice(0, 3).map((proxy, index) => html`${index ? ", or at " : ""}<code>${proxy.listen}</code>`)}; while one is open, it can be reset from here.`
          : "No connection is open."}</p>`}
  </section>`;
}

/** The story of one connection, in a dialog; asked for again each second while it is open. */
export class Story extends Component {
  state = { story: null, problem: null };

  componentDidMount() {
    this.node.showModal();
    this.ask();
    this.timer = setInterval(() => this.state.story?.state !== "closed" && !document.hidden && this.ask(), 1000);
  }

  componentWillUnmount() {
    clearInterval(this.timer);
  }

  async ask() {
    const { connection } = this.props;
    try {
      const story = await get(path(connection));
      this.setState({ story: { ...story, at: now() }, problem: null });
    } catch (error) {
      if (error instanceof Problem && error.status === 404) this.setState({ problem: "It ended long ago and is no longer kept: only the last closed ones are. The log has it." });
      else if (!(error instanceof Lost || error instanceof Problem)) throw error;
    }
  }

  /** Go back; not if another story was asked for meanwhile. */
  close() {
    if (location.hash === storyLink(this.props.connection)) location.hash = state.view === "watch" ? "#watch" : "#configuration";
  }

  render({ connection }, { story, problem }) {
    return html`<dialog class="story" ref=${this.root} aria-labelledby="story-title" onClose=${() => this.close()}
        onClick=${(event) => event.target === event.currentTarget && event.currentTarget.close()}>
      <div class="inside">
        <header><h2 id="story-title">${connection}</h2>
          <button type="button" class="quiet" onClick=${() => this.node.close()}>Close</button></header>
        ${problem ? html`<p class="empty">${problem}</p>` : story ? html`<${Told} story=${story} />` : html`<p class="empty">…</p>`}
      </div></dialog>`;
  }
}

function Told({ story }) {
  const isOpen = story.state !== "closed";
  const life = isOpen ? (story.age_ms + now() - story.at) / 1000 : story.age_ms / 1000;
  return html`
    <p class="way"><code>${story.client}</code> → <b>${story.proxy}</b> → <code>${story.upstream ?? "not dialled yet"}</code></p>
    <dl class="facts">
      <div><dt>state</dt><dd>${isOpen ? html`<i class="badge good">open</i>` : html`<i class="badge">ended by ${story.ended_by}</i>`}</dd></div>
      <div><dt>${isOpen ? "age" : "lasted"}</dt><dd>${lasting(life)}</dd></div>
      <div><dt>sent up</dt><dd>${bytes(story.bytes_upstream)}</dd></div>
      <div><dt>sent down</dt><dd>${bytes(story.bytes_downstream)}</dd></div>
      <div><dt>rule</dt><dd>${story.rule ?? "none"}</dd></div>
    </dl>
    ${isOpen ? html`<${Buttons} connection=${story.connection} />` : null}
    <h3>Bytes over time</h3>
    <p class="keys"><span class="key up">upstream</span> <span class="key down">downstream</span></p>
    <${Bytes} points=${pointsOf(story, life)} marks=${story.injected.map((fault) => [fault.elapsed_ms / 1000, fault.fault])} write=${bytes} />
    <h3>Faults</h3>
    ${story.injected.length ? html`<ol class="told">${story.injected.map((fault, index) => html`<li key=${index}>
        <time>${lasting(fault.elapsed_ms / 1000)}</time> <b>${fault.fault}</b> by ${fault.rule ? html`<b>${fault.rule}</b>` : "hand"}, trigger ${fault.trigger}: the client sees <span class="sees">${fault.client_sees}</span> after ${bytes(fault.bytes_upstream)} up and ${bytes(fault.bytes_downstream)} down
        ${Object.keys(fault.options ?? {}).length ? html` <code>${flow(brief(fault.options))}</code>` : null}
        ${fault.fidelity === "degraded" ? html` <i class="badge warn">degraded: ${fault.reason}</i>` : null}</li>`)}</ol>`
      : html`<p class="empty">None${isOpen ? " so far" : ": it was left alone"}.</p>`}
    <h3>What every rule said</h3>
    ${story.rules.length ? html`<ol class="told">${story.rules.map((rule) => html`<li key=${rule.rule} class=${rule.holds ? "holds" : "not"}>
        <span class="verdict-mark" aria-hidden="true">${rule.holds ? "✓" : "✗"}</span> <b>${rule.rule}</b> <span class="hidden">${rule.holds ? "matched" : "did not match"}:</span> ${rule.because}</li>`)}</ol>`
      : html`<p class="empty">There were no rules.</p>`}
    <p class="hint">Opened at ${clock(Date.parse(story.opened_at), true)}${isOpen ? "" : `; ended by ${story.ended_by} after ${lasting(life)}`}.</p>`;
}

/** Where its bytes stood when: as polled, at each fault, and now or at its end. */
function pointsOf(story, life) {
  const began = now() - life * 1000;
  const polled = (samples.get(story.connection) ?? []).map(([at, up, down]) => [(at - began) / 1000, up, down]);
  const met = story.injected.map((fault) => [fault.elapsed_ms / 1000, fault.bytes_upstream, fault.bytes_downstream]);
  const all = [[0, 0, 0], ...polled, ...met, [life, story.bytes_upstream, story.bytes_downstream]];
  return all.filter(([at]) => at >= 0 && at <= life).sort((one, other) => one[0] - other[0]);
}
