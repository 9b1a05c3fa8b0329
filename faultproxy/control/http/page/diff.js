// Two texts, line by line: what one has and the other has not, with a few lines around it.

import { html } from "./html.js";

const AROUND = 2;

/** [" ", "-" or "+", line] of each line; the longest common subsequence stays. */
export function difference(from, to) {
  const [old, young] = [from.trimEnd().split("\n"), to.trimEnd().split("\n")];
  let [head, tail] = [0, 0];
  while (head < old.length && head < young.length && old[head] === young[head]) head++;
  while (tail < old.length - head && tail < young.length - head && old.at(-1 - tail) === young.at(-1 - tail)) tail++;
  const [one, other] = [old.slice(head, old.length - tail), young.slice(head, young.length - tail)];
  const middle = one.length * other.length > 4e6
    ? [...one.map((line) => ["-", line]), ...other.map((line) => ["+", line])] // too much to compare: all of it changed
    : compared(one, other);
  const same = (lines) => lines.map((line) => [" ", line]);
  return [...same(old.slice(0, head)), ...middle, ...same(old.slice(old.length - tail))];
}

function compared(one, other) {
  const width = other.length + 1;
  const longest = new Uint32Array((one.length + 1) * width);
  for (let i = one.length - 1; i >= 0; i--) for (let j = other.length - 1; j >= 0; j--) {
    longest[i * width + j] = one[i] === other[j] ? longest[(i + 1) * width + j + 1] + 1 : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
  }
  const lines = [];
  let [i, j] = [0, 0];
  while (i < one.length || j < other.length) {
    if (i < one.length && j < other.length && one[i] === other[j]) { lines.push([" ", one[i++]]); j++; }
    else if (j === other.length || (i < one.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) lines.push(["-", one[i++]]);
    else lines.push(["+", other[j++]]);
  }
  return lines;
}

const CLASSES = { "+": "added", "-": "removed", " ": "" };
const NAMES = { "+": "added: ", "-": "removed: ", " ": "" };

export function Diff({ from, to }) {
  const lines = difference(from, to);
  const isNear = lines.map((_, index) => lines.slice(Math.max(0, index - AROUND), index + AROUND + 1).some(([sign]) => sign !== " "));
  return html`<pre class="diff" tabindex="0" role="group" aria-label="The file, and what the overlay changed">${lines.map(([sign, line], index) =>
    isNear[index]
      ? html`<span key=${index} class=${CLASSES[sign]}><span class="hidden">${NAMES[sign]}</span><i aria-hidden="true">${sign}</i> ${`${line}\n`}</span>`
      : isNear[index - 1] ? html`<span key=${index} class="hint">${"  …\n"}</span>` : null)}</pre>`;
}
