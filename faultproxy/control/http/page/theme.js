// Light or dark: as the system has it, until somebody chooses.

import { Component, html } from "./html.js";

const KEY = "faultproxy-theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };

const chosen = () => localStorage.getItem(KEY) ?? "auto";

/** Have the page look as it was chosen. */
export function theme() {
  const name = chosen();
  document.documentElement.dataset.theme = name;
  matchMedia("(prefers-color-scheme: dark)").onchange = announce;
  announce();
}

/** Pictures have colours of their own, and are to be drawn again. */
function announce() {
  document.dispatchEvent(new Event("themed"));
}

export class ThemeButton extends Component {
  render() {
    const name = chosen();
    return html`<button type="button" class="quiet theme" aria-label=${`Colours: ${name}; choose ${NEXT[name]}`} onClick=${() => {
      localStorage.setItem(KEY, NEXT[name]);
      theme();
      this.forceUpdate();
    }}>${{ auto: "◐", light: "☀", dark: "☾" }[name]}<span> ${name}</span></button>`;
  }
}
