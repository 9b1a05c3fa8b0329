// What every part of the page is made with: components, and templates whose values are text, never markup.
import { Component as Plain, h, render } from "./vendor/preact-11.2.0.mjs";
import htm from "./vendor/htm-3.1.1.mjs";

export const html = htm.bind(h);
export { render };

/** A component that knows its outermost element as this.node: ref=${this.root}. */
export class Component extends Plain {
  node = null;
  root = (node) => { this.node = node; };
}
