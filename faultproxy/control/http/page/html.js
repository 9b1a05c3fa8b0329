// What every part of the page is made with: components, and templates whose values are text, never markup.
import { Component, h, render } from "./vendor/preact-11.2.0.mjs";
import htm from "./vendor/htm-3.1.1.mjs";

export const html = htm.bind(h);
export { Component, render };
