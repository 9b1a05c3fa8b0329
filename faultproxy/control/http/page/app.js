import { html, render } from "./html.js";

async function show() {
  const answer = await fetch("v1/proxies");
  const proxies = answer.ok ? await answer.json() : {};
  render(html`<main><h1>faultproxy</h1><ul>${Object.entries(proxies).map(([name, proxy]) =>
    html`<li key=${name}>${name}: ${proxy.state}, ${proxy.listen} to ${proxy.upstream}, ${proxy.open} open</li>`)}</ul></main>`,
    document.getElementById("app"));
}

show();
