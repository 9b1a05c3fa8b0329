// Puts what is seen into the clipboard: as a ctl command, as a Toxiproxy call, as YAML.

import { get, segment } from "./api.js";
import { brief, flow, pairs, shellWord } from "./format.js";
import { html } from "./html.js";
import { attempt, note } from "./store.js";

/** Copy the text, and say what it was. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // only pages from this machine, or over TLS, may use the clipboard so
    const area = document.createElement("textarea");
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  note(`Copied ${what}`);
}

const here = () => location.href.replace(/#.*/, "").replace(/\/$/, "");
const api = () => (location.port === "8474" && location.hostname === "127.0.0.1" ? "" : `--api ${here()} `);
const curl = (method, path, body) => `curl -X ${method} ${here()}/${path} -H 'content-type: application/json' -d ${shellWord(JSON.stringify(body))}`;

async function asToxic(proxy, rule) {
  const path = `proxies/${segment(proxy)}/toxics`;
  const toxic = (await get(path)).find((one) => one.name === rule.name);
  if (toxic) await copy(curl("POST", path, toxic), "a Toxiproxy call");
  else note(`No toxic says what "${rule.name}" says: it has one type and one direction, and toxicity for its only condition.`, true);
}

function asCtl(proxy, rule) {
  const { name, ...rest } = brief(rule);
  return copy(`faultproxy ctl ${api()}rule add ${shellWord(proxy)} ${shellWord(name)} ${shellWord(pairs(rest))}`, "a ctl command");
}

const asYaml = (rule) => copy(`- ${flow(brief(rule))}\n`, "YAML");

/** All proxies as the call that makes them in a Toxiproxy. */
export async function allAsToxiproxy() {
  const proxies = await get("proxies");
  await copy(curl("POST", "populate", Object.values(proxies).map(({ toxics, ...proxy }) => proxy)), "a Toxiproxy call that makes the proxies");
}

/** The configuration, applied by ctl. */
export const allAsCtl = (text) => copy(`faultproxy ctl ${api()}config put - <<'YAML'\n${text.trimEnd()}\nYAML\n`, "a ctl command");

export function copyMenu(proxy, rule) {
  const close = (act) => (event) => {
    const menu = event.target.closest("details");
    menu.open = false;
    menu.querySelector("summary").focus();
    act();
  };
  const onKey = (event) => {
    if (event.key === "Escape" && event.currentTarget.open) {
      event.currentTarget.open = false;
      event.currentTarget.querySelector("summary").focus();
    }
  };
  const onBlur = (event) => {
    if (!event.currentTarget.contains(event.relatedTarget)) event.currentTarget.open = false;
  };
  return html`<details class="menu" onKeyDown=${onKey} onFocusOut=${onBlur}><summary aria-label=${`Copy ${rule.name}`} title="Copy the rule">copy</summary>
    <div><button type="button" onClick=${close(() => asCtl(proxy, rule))}>as ctl</button>
      <button type="button" onClick=${close(() => attempt(() => asToxic(proxy, rule)))}>as Toxiproxy call</button>
      <button type="button" onClick=${close(() => asYaml(rule))}>as YAML</button></div></details>`;
}
