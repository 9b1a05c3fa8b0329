// Pictures of numbers: the two charts of a proxy (uPlot), and bytes over the life of a connection.

import { Component, html } from "./html.js";
import { clock, lasting } from "./format.js";
import { SHOWN_S, now } from "./store.js";

const uPlot = window.uPlot;
const HEIGHT = 74;

/** What a CSS variable holds now, as a canvas can use it: light and dark resolved. */
export function color(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** props: title, of ({t, ...}), lines ([{key, name, color}]), write (a number as text). Drawn only while it can be seen. */
export class Chart extends Component {
  componentDidMount() {
    this.box = this.node.querySelector(".plot");
    this.seen = new IntersectionObserver(([entry]) => (entry.isIntersecting ? this.open() : this.close()), { rootMargin: "200px" });
    this.seen.observe(this.box);
    this.sized = new ResizeObserver(() => this.plot?.setSize({ width: this.box.clientWidth, height: HEIGHT }));
    this.sized.observe(this.box);
    this.recolor = () => { this.close(); this.open(); };
    document.addEventListener("themed", this.recolor);
  }

  componentWillUnmount() {
    this.seen.disconnect();
    this.sized.disconnect();
    document.removeEventListener("themed", this.recolor);
    this.close();
  }

  componentDidUpdate() {
    this.plot?.setData(this.data());
  }

  data() {
    const { of, lines } = this.props;
    return [of?.t ?? [], ...lines.map((line) => of?.[line.key] ?? [])];
  }

  open() {
    if (this.plot) return;
    const { lines, write } = this.props;
    const [faint, grid] = [color("faint"), color("grid")];
    const font = "11px system-ui, sans-serif";
    this.plot = new uPlot({
      width: this.box.clientWidth, height: HEIGHT, padding: [6, 4, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "time" }, y: false, points: { size: 5 }, drag: { x: false, y: false } },
      scales: {
        x: { time: false, range: () => [now() / 1000 - SHOWN_S, now() / 1000] },
        y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] },
      },
      axes: [
        { stroke: faint, font, size: 18, gap: 2, grid: { stroke: grid, width: 1 }, ticks: { show: false }, splits: minutes,
          values: (_, all) => all.map((at) => clock(at * 1000).slice(0, 5)) },
        { stroke: faint, font, size: 52, gap: 4, grid: { stroke: grid, width: 1 }, ticks: { show: false }, space: 24,
          values: (_, all) => all.map(write) },
      ],
      series: [{}, ...lines.map((line) => {
        const stroke = color(line.color);
        return { label: line.name, stroke, width: 1.5, points: { show: false }, fill: stroke.replace(/^rgb\((.*)\)$/, "rgba($1, 0.14)") };
      })],
      hooks: { setCursor: [(plot) => {
        const at = plot.cursor.idx;
        if (at !== this.state.at) this.setState({ at });
      }] },
    }, this.data(), this.box);
  }

  close() {
    this.plot?.destroy();
    this.plot = null;
  }

  render({ title, of, lines, write }, { at }) {
    const index = at ?? (of?.t.length ?? 0) - 1;
    const when = at == null ? "" : ` at ${clock(of?.t[at] * 1000)}`;
    const text = lines.map((line) => [line, of?.[line.key][index]]);
    const most = (key) => Math.max(0, ...(of?.[key] ?? []));
    const spoken = lines.map((line) => `${line.name || title} now ${write(of?.[line.key].at(-1) ?? 0)}, at most ${write(most(line.key))}`);
    return html`<figure class="chart" ref=${this.root}>
      <figcaption><span>${title}${when}</span>${text.map(([line, value]) =>
        html`<span class=${`key ${line.color}`} key=${line.key}>${line.name} <b>${value == null ? "–" : write(value)}</b></span>`)}</figcaption>
      <div class="plot" role="img" aria-label=${`${title}, the last five minutes: ${spoken.join("; ")}`}></div>
    </figure>`;
  }
}

function minutes(plot) {
  const { min, max } = plot.scales.x;
  const step = plot.bbox.width / devicePixelRatio < 260 ? 120 : 60;
  const all = [];
  for (let at = Math.ceil(min / step) * step; at <= max; at += step) all.push(at);
  return all;
}

/** Bytes of a connection over its life: points [[seconds, up, down], ...], marks [[seconds, fault], ...]. */
export function Bytes({ points, marks, write }) {
  const [width, height, left, bottom] = [600, 120, 56, 16];
  const end = Math.max(0.001, ...points.map(([at]) => at), ...marks.map(([at]) => at));
  const most = Math.max(1, ...points.map(([, up, down]) => Math.max(up, down)));
  const x = (at) => left + (at / end) * (width - left - 8);
  const y = (value) => height - bottom - (value / most) * (height - bottom - 12);
  const line = (which) => points.map((point, index) => `${index ? "L" : "M"}${x(point[0]).toFixed(1)} ${y(point[which]).toFixed(1)}`).join("");
  const [, up, down] = points.at(-1) ?? [0, 0, 0];
  return html`<svg class="bytes" viewBox="0 0 ${width} ${height}" role="img"
      aria-label=${`Bytes over time: ${write(up)} upstream and ${write(down)} downstream after ${lasting(end)}`}>
    <path class="axis" d=${`M${left} 8V${height - bottom}H${width - 8}`} />
    <text x=${left - 6} y="16" text-anchor="end">${write(most)}</text>
    <text x=${left - 6} y=${height - bottom} text-anchor="end">0</text>
    <text x=${left} y=${height - 3}>0 s</text>
    <text x=${width - 8} y=${height - 3} text-anchor="end">${end < 10 ? end.toFixed(2) : Math.round(end)} s</text>
    <path class="up" d=${line(1)} /><path class="down" d=${line(2)} />
    ${marks.map(([at, fault], index) => html`<g class="mark" key=${index}><path d=${`M${x(at)} 8V${height - bottom}`} />
      <text x=${x(at) + (at > end / 2 ? -4 : 4)} y=${18 + (index % 4) * 12} text-anchor=${at > end / 2 ? "end" : "start"}>${fault}</text></g>`)}
  </svg>`;
}
