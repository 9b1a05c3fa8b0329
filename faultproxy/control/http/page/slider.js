// How strong a shape is, as a slider that acts while one drags.

import { Latest } from "./api.js";
import { duration, quantity, rate, share } from "./format.js";
import { Component, html } from "./html.js";
import { attempt } from "./store.js";

const STEPS = 200;

/** A logarithmic scale from least to most, whose first step may be nothing at all. */
function scale(least, most, write, hasZero) {
  const ratio = Math.log(most / least);
  return {
    write,
    value: (step) => (hasZero && step === 0 ? 0 : least * Math.exp((ratio * step) / STEPS)),
    step: (value) => (value <= least ? 0 : Math.min(STEPS, Math.round((Math.log(value / least) / ratio) * STEPS))),
  };
}

const TIME = scale(0.0005, 30, duration, true);
const SOME_TIME = scale(0.0005, 30, duration, false);
const SPEED = scale(100, 1e9, rate, false);
const SHARE = scale(0.0001, 1, share, true);

/** Of each shape the option that says how strong it is. */
const KNOBS = {
  slow_connect: ["delay", SOME_TIME], latency: ["delay", TIME], bandwidth: ["rate", SPEED], slice: ["pause", TIME],
  corrupt: ["probability", SHARE], loss: ["probability", SHARE], slow_close: ["delay", TIME],
};

/** The sliders that a rule has: {fault, option, scale}. */
export function knobsOf(mapping) {
  return Object.keys(mapping).filter((fault) => KNOBS[fault] && !mapping[fault]?.at)
    .map((fault) => ({ fault, option: KNOBS[fault][0], scale: KNOBS[fault][1] }));
}

/** props: knob, mapping (the rule), proxy, put (send changes of the rule). */
export class Slider extends Component {
  state = { step: null };

  sends = new Latest(async (step) => {
    const { knob, mapping, put } = this.props;
    const value = knob.scale.write(knob.scale.value(step));
    await attempt(() => put({ [knob.fault]: { ...mapping[knob.fault], [knob.option]: value } }));
    if (!this.sends.waiting) this.setState({ step: null });
  });

  drag(event) {
    const step = Number(event.target.value);
    this.setState({ step });
    this.sends.set(step);
  }

  render({ knob, mapping }, { step }) {
    const now = mapping[knob.fault]?.[knob.option] ?? 0;
    const number = quantity(now);
    const text = step === null ? (knob.scale === SHARE ? share(number) : String(now || "0s")) : knob.scale.write(knob.scale.value(step));
    const name = `${mapping.name}: ${knob.fault} ${knob.option}`;
    return html`<label class="slider"><span>${knob.fault} ${knob.option}</span>
      <input type="range" min="0" max=${STEPS} value=${step ?? knob.scale.step(number)} aria-label=${name} aria-valuetext=${text}
        onInput=${(event) => this.drag(event)} /><output>${text}</output></label>`;
  }
}
