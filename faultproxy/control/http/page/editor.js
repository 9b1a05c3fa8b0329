// The configuration as YAML: its errors at their places while one types, the forecast beside it, and the way to apply it.

import { Lost, Problem, ask, get, segment } from "./api.js";
import { allAsCtl, allAsToxiproxy } from "./copy.js";
import { Diff } from "./diff.js";
import { plural } from "./format.js";
import { Component, html } from "./html.js";
import { attempt, note, state } from "./store.js";

const YAML = "application/yaml";
const PAUSE_MS = 250;
export const EXAMPLE = `proxies:
  web:
    listen: 127.0.0.1:18080
    upstream: 127.0.0.1:8080
    rules:
      - name: cut mid-reply
        when: {probability: 10%}
        reset: {after: 4KiB}
`;

/** {line, column, path, text} of an error such as "12:9: proxies.redis: what is wrong", with or without a file before it. */
function placed(error) {
  const match = /^(?:[^\s:]*:)?(\d+):(\d+): (.*)$/s.exec(error);
  return match ? { line: Number(match[1]), column: Number(match[2]), text: match[3] } : { line: 0, column: 0, text: error };
}

export class Editor extends Component {
  state = {
    text: null, running: "", etag: null, errors: [], warnings: [], forecasts: null, isChecked: false, base: null,
    client: "127.0.0.1", at: "0s", chosen: null,
  };

  componentDidMount() {
    this.load();
    this.leave = (event) => this.isEdited && event.preventDefault();
    window.addEventListener("beforeunload", this.leave);
  }

  componentWillUnmount() {
    clearTimeout(this.timer);
    window.removeEventListener("beforeunload", this.leave);
  }

  componentDidUpdate() {
    if (this.isBehind && !this.isEdited) this.load();
  }

  get isEdited() {
    return this.state.text !== null && this.state.text !== this.state.running;
  }

  /** Whether something else runs by now than what was loaded. */
  get isBehind() {
    return this.state.text !== null && state.etag !== null && state.etag !== this.state.etag;
  }

  /** Show what runs; what was typed meanwhile stays, unless it is to be given up. */
  async load(givesUp = false) {
    if (this.isLoading) return;
    this.isLoading = true;
    try {
      const [{ value: text, etag }, base] = await Promise.all([
        ask("GET", "v1/config", { headers: { accept: YAML } }), get("v1/config?layer=base", { headers: { accept: YAML } }),
      ]);
      if (this.isEdited && !givesUp) return;
      state.etag = etag;
      this.setState({ text, running: text, etag, base });
      this.check(text);
    } catch (error) {
      if (!(error instanceof Lost || error instanceof Problem)) throw error;
      setTimeout(() => this.node && this.load(givesUp), 1000);
    } finally {
      this.isLoading = false;
    }
  }

  type(text) {
    this.setState({ text, isChecked: false });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.check(text), PAUSE_MS);
  }

  async check(text) {
    const isNewest = () => text === this.state.text;
    try {
      const { value } = await ask("POST", "v1/check", { body: text, type: YAML });
      if (isNewest()) this.setState({ errors: [], warnings: (value.warnings ?? []).map(placed), isChecked: true });
      await this.explain(text);
    } catch (error) {
      if (error instanceof Problem && isNewest()) this.setState({ errors: (error.errors.length ? error.errors : [error.message]).map(placed), warnings: [], isChecked: true });
      else if (!(error instanceof Lost || error instanceof Problem)) throw error;
    }
  }

  async explain(text = this.state.text) {
    const { client, at } = this.state;
    const query = new URLSearchParams({ connections: 20, client, at });
    try {
      const { value } = await ask("POST", `v1/explain?${query}`, { body: text, type: YAML });
      if (text === this.state.text) this.setState({ forecasts: value.proxies, problem: null });
    } catch (error) {
      if (!(error instanceof Lost || error instanceof Problem)) throw error;
      if (text === this.state.text) this.setState({ problem: error.message });
    }
  }

  async apply() {
    const { text, etag } = this.state;
    const isDone = await attempt(async () => {
      await ask("PUT", "v1/config", { body: text, type: YAML, headers: etag ? { "if-match": etag } : {} });
    }, "Applied: it is in force");
    if (isDone) await this.load(true);
  }

  async back() {
    if (await attempt(() => ask("DELETE", "v1/overlay"), "Back to the file: the overlay is dropped")) await this.load(true);
  }

  download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([this.state.text], { type: YAML }));
    link.download = "faultproxy.yaml";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    note("Downloaded faultproxy.yaml");
  }

  goTo({ line, column }) {
    const area = this.node.querySelector("textarea");
    const before = this.state.text.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    area.focus();
    area.setSelectionRange(before + column - 1, before + column - 1);
    area.scrollTop = Math.max(0, (line - 4) * parseFloat(getComputedStyle(area).lineHeight));
  }

  render(_, { text, running, errors, warnings, isChecked, forecasts, problem, base, client, at }) {
    if (text === null) return html`<section class="panel" ref=${this.root}><p class="empty">Asking for the configuration…</p></section>`;
    const says = !isChecked ? "checking…" : errors.length ? plural(errors.length, "error") : warnings.length ? `valid, ${plural(warnings.length, "warning")}` : "valid";
    const hasOverlay = base !== null && base !== running;
    return html`<div class="configuration" ref=${this.root}>
      <section class="panel edit" aria-labelledby="edit-title">
        <header><h2 id="edit-title">Configuration</h2>
          <output class=${`badge ${errors.length ? "bad" : isChecked ? "good" : ""}`} id="edit-state">${says}</output>
          <div class="buttons">
            <button type="button" class="main" disabled=${!isChecked || errors.length > 0 || !this.isEdited} onClick=${() => this.apply()}>Apply</button>
            <button type="button" disabled=${!this.isEdited} onClick=${() => this.load(true)}>Discard</button>
            <button type="button" onClick=${() => this.download()}>Download</button>
            <button type="button" onClick=${() => allAsCtl(text)}>Copy as ctl</button>
            <button type="button" onClick=${() => attempt(allAsToxiproxy)}>Copy as Toxiproxy call</button>
          </div></header>
        ${text.trim() && Object.keys(state.proxies).length ? null : html`<p class="empty">No proxy runs yet. Write one here, or
          <button type="button" class="quiet" onClick=${() => this.type(EXAMPLE)}>begin with an example</button>, and apply it: it listens at once.</p>`}
        ${this.isBehind && this.isEdited ? html`<p class="warn">Something else runs by now: it was changed meanwhile.
          <button type="button" class="quiet" onClick=${() => this.setState({ etag: state.etag })}>Apply mine over it</button></p>` : null}
        <${Text} text=${text} marks=${[...errors, ...warnings.map((one) => ({ ...one, isWarning: true }))]} onInput=${(value) => this.type(value)} />
        <ul class="errors" aria-label="What is wrong">${[...errors, ...warnings].map((one, index) => html`<li key=${index} class=${errors.includes(one) ? "bad" : "warn"}>
          ${one.line ? html`<button type="button" class="quiet" onClick=${() => this.goTo(one)}>${one.line}:${one.column}</button> ` : null}${one.text}</li>`)}</ul>
      </section>
      <div class="beside"><section class="panel forecast" aria-labelledby="forecast-title">
        <header><h2 id="forecast-title">The next 20 connections</h2>
          <form class="filters" aria-label="Of whom, and when" onSubmit=${(event) => event.preventDefault()}>
            <label><span>client</span><input value=${client} size="12" onInput=${(event) => this.ask({ client: event.target.value.trim() })} /></label>
            <label><span>after</span><input value=${at} size="5" onInput=${(event) => this.ask({ at: event.target.value.trim() })} /></label></form></header>
        ${problem ? html`<p class="warn">${problem}</p>` : null}
        ${errors.length ? html`<p class="empty">${forecasts ? "As it was before the errors" : "Nothing can be foretold of a configuration with errors"}.</p>` : null}
        <div class=${errors.length ? "stale" : ""}>${forecasts?.map((one) => html`<${Forecast} key=${one.proxy} of=${one} />`)}</div>
      </section>
      <section class="panel overlay" aria-labelledby="overlay-title">
        <header><h2 id="overlay-title">What differs from the file</h2>
          <button type="button" disabled=${!hasOverlay} onClick=${() => this.back()}>Back to the file</button></header>
        ${hasOverlay ? html`<${Diff} from=${base} to=${running} />` : html`<p class="empty">Nothing: what runs is ${state.status?.file ? html`<code>${state.status.file}</code>` : "what it began with"}.
          What is changed here lies over the file, in memory, until you drop it or save it into the file.</p>`}
      </section></div></div>`;
  }

  ask(given) {
    this.setState(given, () => {
      clearTimeout(this.asking);
      this.asking = setTimeout(() => this.explain(), PAUSE_MS);
    });
  }
}

/** props: text, marks ([{line, column}]), onInput. Lines are numbered, and what is wrong is underlined behind the text. */
class Text extends Component {
  scroll() {
    const area = this.node.querySelector("textarea");
    const [gutter, under] = this.node.querySelectorAll("pre");
    gutter.scrollTop = area.scrollTop;
    under.scrollTop = area.scrollTop;
    under.scrollLeft = area.scrollLeft;
  }

  componentDidUpdate() {
    this.scroll();
  }

  render({ text, marks, onInput }) {
    const lines = text.split("\n");
    const at = new Map(marks.toReversed().map((mark) => [mark.line, mark]));
    return html`<div class="text" ref=${this.root}>
      <pre class="gutter" aria-hidden="true">${lines.map((_, index) => {
        const mark = at.get(index + 1);
        return html`<span key=${index} class=${mark ? (mark.isWarning ? "warn" : "bad") : ""} title=${mark?.text}>${`${mark ? "●" : " "}${String(index + 1).padStart(3)}\n`}</span>`;
      })}</pre>
      <div class="area">
        <pre class="under" aria-hidden="true">${lines.map((line, index) => html`<${Line} key=${index} line=${line} mark=${at.get(index + 1)} />`)}</pre>
        <textarea spellcheck=${false} autocapitalize="off" autocomplete="off" wrap="off" aria-label="Configuration as YAML" aria-describedby="edit-state"
          aria-invalid=${marks.some((mark) => !mark.isWarning)} value=${text} onInput=${(event) => onInput(event.target.value)} onScroll=${() => this.scroll()}></textarea>
      </div></div>`;
  }
}

/** A line behind the text: of one that is wrong, the word at the place is underlined. */
function Line({ line, mark }) {
  if (!mark) return html`<span>${`${line}\n`}</span>`;
  const start = Math.min(mark.column - 1, line.length);
  const word = /^(?:"[^"]*"?|'[^']*'?|[^\s,{}[\]]+)/.exec(line.slice(start))?.[0] ?? "";
  return html`<span>${line.slice(0, start)}<u class=${mark.isWarning ? "warn" : "bad"}>${word || " "}</u>${`${line.slice(start + word.length)}\n`}</span>`;
}

class Forecast extends Component {
  state = { chosen: 0 };

  onKey(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -99, End: 99 }[event.key];
    if (!step) return;
    event.preventDefault();
    const last = this.props.of.connections.length - 1;
    this.setState({ chosen: Math.max(0, Math.min(last, this.state.chosen + step)) }, () => this.node.querySelector("[aria-selected=true]").focus());
  }

  render({ of }, { chosen }) {
    const id = `forecast-${segment(of.proxy)}`;
    const one = of.connections[Math.min(chosen, of.connections.length - 1)];
    const met = of.connections.filter((each) => each.faults.length).length;
    return html`<article class="coming" ref=${this.root}><h3>${of.proxy} <span class="hint">${met} of ${of.connections.length} meet a fault</span></h3>
      <div class="cells" role="tablist" aria-label=${`The next connections of ${of.proxy}`} onKeyDown=${(event) => this.onKey(event)}>${of.connections.map((each, index) => html`
        <button type="button" role="tab" key=${index} class=${each.faults.length ? "met" : ""} aria-selected=${index === chosen} tabindex=${index === chosen ? 0 : -1}
          aria-controls=${id} aria-label=${`connection ${each.connection}: ${each.faults.map((fault) => fault.fault).join(", ") || "no fault"}`}
          onClick=${() => this.setState({ chosen: index })}>${each.connection}</button>`)}</div>
      <div role="tabpanel" id=${id} class="said" aria-live="polite">${one ? html`<p><b>${one.connection}:</b> ${one.text ?? (one.faults.map((fault) => fault.fault).join(", ") || "nothing happens to it")}</p>
        <ul>${one.rules.map((rule) => html`<li key=${rule.rule} class=${rule.holds ? "holds" : "not"}><span aria-hidden="true">${rule.holds ? "✓" : "✗"}</span> <b>${rule.rule}</b> <span class="hidden">${rule.holds ? "holds" : "does not hold"}:</span> ${rule.because}</li>`)}</ul>` : null}</div></article>`;
  }
}
