// Speaks HTTP with the API: whole answers, and the stream of events. Its addresses are relative, so the page also works
// below a path of another server.

const TOKEN = "faultproxy-token";
const PATIENCE_MS = 10_000;
const SILENCE_MS = 40_000; // the stream has a heartbeat every 15 s

/** Why the API refused something; its errors are the lines that the command line would print. */
export class Problem extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the API answered ${status}`);
    this.status = status;
    this.errors = problem.errors ?? [];
  }
}

/** The API does not answer at all. */
export class Lost extends Error {}

export function setToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

function headersOf(extra) {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { authorization: `Bearer ${token}`, ...extra } : extra;
}

async function send(method, path, { body, type = "application/json", headers = {}, signal = AbortSignal.timeout(PATIENCE_MS) } = {}) {
  const isRaw = body === undefined || typeof body === "string";
  const sent = { ...headers, ...(body === undefined ? {} : { "content-type": type }) };
  try {
    const options = { method, headers: headersOf(sent), body: isRaw ? body : JSON.stringify(body), signal };
    return await fetch(path, options);
  } catch {
    throw new Lost("the API does not answer");
  }
}

/** The answer's body: what JSON holds, or text, with its ETag. Throws Problem, or Lost. */
export async function ask(method, path, options) {
  const answer = await send(method, path, options);
  let text;
  try {
    text = await answer.text();
  } catch {
    throw new Lost("the API broke off its answer");
  }
  const isJson = /\bjson\b/.test(answer.headers.get("content-type") ?? "");
  const value = isJson && text ? JSON.parse(text) : text;
  if (!answer.ok) throw new Problem(answer.status, isJson && value ? value : { detail: text.slice(0, 200) });
  return { value, etag: answer.headers.get("etag") };
}

export async function get(path, options) {
  return (await ask("GET", path, options)).value;
}

export const segment = encodeURIComponent;

/**
 * Follow the events for ever: `receive` is called with an array of what came at once, each {id, name, data};
 * `dropped` with how many the API left out. Resumes after the last one that came. (Not EventSource: that cannot send a token.)
 */
export async function follow(path, last, receive, dropped) {
  for (let wait = 250; ; wait = Math.min(wait * 2, 4000)) {
    const ends = new AbortController();
    try {
      const headers = { accept: "text/event-stream", ...(last ? { "last-event-id": last } : {}) };
      const answer = await send("GET", path, { headers, signal: ends.signal });
      if (answer.ok) {
        for await (const frames of read(answer.body.getReader(), ends)) {
          wait = 250;
          last = frames.findLast((frame) => frame.id)?.id ?? last;
          const events = frames.filter((frame) => frame.name !== "dropped");
          for (const frame of frames) if (frame.name === "dropped") dropped(frame.data);
          if (events.length) receive(events);
        }
      }
    } catch (error) {
      if (!ends.signal.aborted && !(error instanceof Lost || error instanceof TypeError)) reportError(error);
    }
    await new Promise((done) => setTimeout(done, wait));
  }
}

/** Frames of Server-Sent Events, as many at a time as came at once; a stream that falls silent is aborted. */
async function* read(reader, ends) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const silence = setTimeout(() => ends.abort(), SILENCE_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    const texts = (rest + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/);
    rest = texts.pop();
    const frames = texts.map(frame).filter((one) => one.data !== undefined);
    if (frames.length) yield frames;
  }
}

function frame(text) {
  const one = { id: null, name: "message", data: undefined };
  for (const line of text.split(/\r?\n/)) {
    const [, field, value] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (field === "id") one.id = value;
    else if (field === "event") one.name = value;
    else if (field === "data") one.data = JSON.parse(value);
  }
  return one;
}

/** Sends the newest of what it is handed, one at a time and at most ten a second: what comes meanwhile replaces what waits. */
export class Latest {
  constructor(act) {
    this.act = act;
    this.waiting = null;
    this.isBusy = false;
  }

  async set(value) {
    this.waiting = { value };
    if (this.isBusy) return;
    this.isBusy = true;
    while (this.waiting) {
      const { value: newest } = this.waiting;
      this.waiting = null;
      await Promise.all([this.act(newest), new Promise((done) => setTimeout(done, 100))]);
    }
    this.isBusy = false;
  }
}
