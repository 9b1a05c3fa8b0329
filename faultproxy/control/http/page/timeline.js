// The time line: of each proxy the attempts of every second, how many of them met a fault, its outages, and its busiest
// clients attempt by attempt. A retry storm is a wall; a backoff is marks that grow apart.

import { color } from "./charts.js";
import { clock, count, plural } from "./format.js";
import { Component, html } from "./html.js";
import { lanes, outages } from "./happenings.js";
import { SHOWN_S, now, state } from "./store.js";

const MOST_LANES = 8;
const BARS = 34;
const ROW = 11;
const MOST_ROWS = 4;
const GAP = 12;
const AXIS = 18;

/** The proxies that have something to show, and the rows of their clients. */
function shown() {
  const busy = state.proxies.filter(({ name }) => lanes.has(name) || outages.some((one) => one.proxy === name));
  return busy.slice(0, MOST_LANES).map(({ name }) => {
    const lane = lanes.get(name) ?? { seconds: new Map(), clients: new Map() };
    const since = now() - SHOWN_S * 1000;
    const clients = [...lane.clients].map(([client, ticks]) => [client, [...ticks].filter(([at]) => at >= since)])
      .filter(([, ticks]) => ticks.length).sort((one, other) => other[1].length - one[1].length);
    return { name, seconds: lane.seconds, rows: clients.slice(0, MOST_ROWS), others: Math.max(0, clients.length - MOST_ROWS) };
  });
}

export class Timeline extends Component {
  state = { at: null };

  componentDidMount() {
    this.canvas = this.node.querySelector("canvas");
    this.sized = new ResizeObserver(() => this.draw());
    this.sized.observe(this.node);
    this.recolor = () => { this.colors = null; this.draw(); };
    document.addEventListener("themed", this.recolor);
    this.draw();
  }

  componentDidUpdate() { this.draw(); }

  componentWillUnmount() {
    this.sized.disconnect();
    document.removeEventListener("themed", this.recolor);
  }

  get left() { return this.canvas.clientWidth < 600 ? 84 : 148; }

  draw() {
    this.colors ??= Object.fromEntries(["text", "faint", "grid", "attempt", "fault", "outage"].map((name) => [name, color(name)]));
    const all = shown();
    const height = all.reduce((sum, lane) => sum + BARS + lane.rows.length * ROW + GAP, AXIS);
    const width = this.node.clientWidth;
    const scale = devicePixelRatio;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
      this.canvas.style.height = `${height}px`;
    }
    const paint = this.canvas.getContext("2d");
    paint.setTransform(scale, 0, 0, scale, 0, 0);
    paint.clearRect(0, 0, width, height);
    paint.font = "12px system-ui, sans-serif";
    this.end = now();
    const x = (at) => this.left + (1 - (this.end - at) / (SHOWN_S * 1000)) * (width - this.left);
    this.drawAxis(paint, x, width, height);
    let top = 4;
    for (const lane of all) {
      this.drawLane(paint, x, lane, top, width);
      top += BARS + lane.rows.length * ROW + GAP;
    }
    if (this.state.at !== null) {
      paint.fillStyle = this.colors.text;
      paint.fillRect(x(this.state.at * 1000 + 500), 0, 1, height - AXIS);
    }
  }

  drawAxis(paint, x, width, height) {
    paint.textAlign = "center";
    for (let at = Math.ceil((this.end / 1000 - SHOWN_S) / 60) * 60; at <= this.end / 1000; at += 60) {
      paint.fillStyle = this.colors.grid;
      paint.fillRect(x(at * 1000), 0, 1, height - AXIS);
      paint.fillStyle = this.colors.faint;
      const at_x = x(at * 1000);
      if (at_x > this.left + 14 && at_x < width - 40) paint.fillText(clock(at * 1000).slice(0, 5), at_x, height - 5);
    }
    paint.textAlign = "right";
    paint.fillStyle = this.colors.faint;
    paint.fillText("now", width - 2, height - 5);
  }

  drawLane(paint, x, { name, seconds, rows, others }, top, width) {
    const { text, faint, grid, attempt, fault, outage } = this.colors;
    const first = Math.floor(this.end / 1000) - SHOWN_S;
    const high = Math.max(1, ...[...seconds].filter(([at]) => at >= first).map(([, its]) => Math.max(its.attempts, its.faults)));
    const bottom = top + BARS;
    for (const one of outages.filter((other) => other.proxy === name)) {
      const [from, to] = [Math.max(this.left, x(one.from)), x(one.to ?? this.end)];
      if (to <= from) continue;
      paint.globalAlpha = 0.22;
      paint.fillStyle = outage;
      paint.fillRect(from, top, Math.max(2, to - from), BARS + rows.length * ROW);
      paint.globalAlpha = 1;
      paint.fillRect(from, top - 2, Math.max(2, to - from), 3);
      if (to - from > 60) {
        paint.textAlign = "left";
        paint.fillText(`outage: ${one.rule}`, from + 4, top + 13, to - from - 8);
      }
    }
    paint.fillStyle = grid;
    paint.fillRect(this.left, bottom, width - this.left, 1);
    const wide = Math.max(1, x(1000) - x(0) - 0.5);
    for (const [at, its] of seconds) {
      if (at < first) continue;
      const left = x(at * 1000);
      if (left < this.left) continue;
      const all = Math.max(its.attempts, its.faults);
      const tall = (number) => (number / high) * (BARS - 3);
      paint.fillStyle = attempt;
      paint.fillRect(left, bottom - tall(all), wide, tall(all));
      paint.fillStyle = fault;
      paint.fillRect(left, bottom - tall(its.faults), wide, tall(its.faults));
    }
    paint.textAlign = "right";
    paint.fillStyle = text;
    paint.font = "600 12px system-ui, sans-serif";
    paint.fillText(name, this.left - 8, top + 13, this.left - 10);
    paint.font = "11px system-ui, sans-serif";
    paint.fillStyle = faint;
    paint.fillText(`max ${count(high)}/s`, this.left - 8, top + 28, this.left - 10);
    rows.forEach(([client, ticks], index) => {
      const middle = bottom + 2 + index * ROW;
      paint.fillStyle = faint;
      paint.font = "10px system-ui, sans-serif";
      paint.fillText(index === MOST_ROWS - 1 && others ? `${client} and ${others} more` : client, this.left - 8, middle + 9, this.left - 10);
      for (const isFault of [false, true]) { // an attempt that met one is of the fault's colour
        paint.fillStyle = isFault ? fault : attempt;
        for (const [at, metOne] of ticks) {
          const left = x(at);
          if (metOne === isFault && left >= this.left) paint.fillRect(left, middle + (isFault ? 1 : 2), Math.max(1, wide / 2 - 0.5), ROW - (isFault ? 1 : 3));
        }
      }
    });
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const share = (event.clientX - box.left - this.left) / (box.width - this.left);
    this.setState({ at: share < 0 ? null : Math.floor(this.end / 1000 - SHOWN_S * (1 - share)) });
  }

  onKey(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30 }[event.key];
    const last = Math.floor(now() / 1000);
    if (event.key === "Escape") this.setState({ at: null });
    else if (event.key === "Home") this.setState({ at: last - SHOWN_S });
    else if (event.key === "End") this.setState({ at: last });
    else if (step) this.setState({ at: Math.min(last, Math.max(last - SHOWN_S, (this.state.at ?? last) + step)) });
    else return;
    event.preventDefault();
  }

  readout(at) {
    const parts = shown().map(({ name, seconds }) => {
      const its = seconds.get(at);
      const out = outages.find((one) => one.proxy === name && one.from / 1000 <= at + 1 && (one.to === null || one.to / 1000 >= at));
      const said = [its && `${plural(Math.max(its.attempts, its.faults), "attempt")}, ${plural(its.faults, "fault")}`, out && `outage (${out.rule})`];
      return said.some(Boolean) ? `${name}: ${said.filter(Boolean).join(", ")}` : null;
    });
    return `${clock(at * 1000)} · ${parts.filter(Boolean).join(" · ") || "nothing"}`;
  }

  render(_, { at }) {
    const isEmpty = !shown().length;
    return html`<div class="timeline" ref=${this.root}>
      <canvas tabindex="0" role="img" hidden=${isEmpty} aria-describedby="timeline-readout"
        aria-label="Attempts, faults and outages of the last five minutes. Arrow keys read it second by second."
        onPointerMove=${(event) => this.point(event)} onPointerLeave=${() => this.setState({ at: null })}
        onKeyDown=${(event) => this.onKey(event)} onBlur=${() => this.setState({ at: null })}></canvas>
      <output id="timeline-readout" class="readout">${isEmpty
        ? "Nothing yet: no client has come in the last five minutes."
        : at === null
          ? html`<span class="key attempt">attempts</span><span class="key fault">met by a fault</span><span class="key outage">outage</span>
            <span class="hint">a second, and of the busiest clients each. Point at it, or focus it and press the arrow keys.</span>`
          : this.readout(at)}</output>
    </div>`;
  }
}
