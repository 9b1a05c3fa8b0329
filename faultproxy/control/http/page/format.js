// Measurements, quantities and YAML as people write them.

const SECONDS = { us: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 };
const BYTES = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };
const LISTS = new Set(["client", "sni", "connection", "nth"]);
const BITS = { "bit/s": 1 / 8, "kbit/s": 125, "Mbit/s": 125e3, "Gbit/s": 125e6 };

/** 12, 1,234 or 1.2 M: at most six characters. */
export function count(number) {
  if (number < 1e4) return Math.round(number).toLocaleString("en");
  return number < 1e6 ? `${short(number / 1e3)} k` : `${short(number / 1e6)} M`;
}

/** 0, 0.4, 3.2, 17 or 1,234 a second. */
export function perSecond(number) {
  return number >= 0.05 && number < 9.95 ? number.toFixed(1) : count(number);
}

/** 17 B, 1.2 kB, 3.4 MB. */
export function bytes(number) {
  if (number < 1e3) return `${Math.round(number)} B`;
  const unit = number < 1e6 ? "kB" : number < 1e9 ? "MB" : "GB";
  return `${short(number / BYTES[unit])} ${unit}`;
}

/** 340 ms, 4.2 s, 3 m 20 s, 5 h 12 m: how long something took or has lasted. */
export function lasting(seconds) {
  if (seconds < 1) return `${Math.max(0, Math.round(seconds * 1e3))} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.floor(seconds)} s`;
  const whole = Math.floor(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} m`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** 14:03:22, in the reader's time zone; with milliseconds if asked for. */
export function clock(milliseconds, isExact = false) {
  const at = new Date(milliseconds);
  const two = (number) => String(number).padStart(2, "0");
  const text = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return isExact ? `${text}.${String(at.getMilliseconds()).padStart(3, "0")}` : text;
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

function short(number) {
  return number < 9.95 ? number.toFixed(1) : Math.round(number).toLocaleString("en");
}

/** Seconds, bytes or bytes a second, from text with a unit; a fraction, from 10% or a number. NaN from anything else. */
export function quantity(value) {
  const match = /^([0-9.]+) ?([a-zA-Z/%]+)$/.exec(value);
  if (!match) return Number(value);
  const [, number, unit] = match;
  if (unit === "%") return number / 100;
  return number * (SECONDS[unit] ?? BYTES[unit] ?? BITS[unit] ?? BYTES[unit.replace("/s", "")] ?? NaN);
}

function significant(number, unit) {
  return `${Number(number.toPrecision(2))}${unit}`;
}

/** As the configuration has it, to two figures: 250us, 10ms, 1.5s. */
export function duration(seconds) {
  if (seconds < 1e-6) return "0s";
  if (seconds < 1e-3) return significant(seconds * 1e6, "us");
  return seconds < 1 ? significant(seconds * 1e3, "ms") : significant(seconds, "s");
}

/** As the configuration has it, to two figures: 640B/s, 64kB/s, 1.5MB/s. */
export function rate(number) {
  if (number < 1e3) return significant(number, "B/s");
  if (number < 1e6) return significant(number / 1e3, "kB/s");
  return number < 1e9 ? significant(number / 1e6, "MB/s") : significant(number / 1e9, "GB/s");
}

/** As the configuration has it, to two figures: 0.5%, 12%. */
export function share(fraction) {
  return significant(fraction * 100, "%");
}

/** A value as YAML on one line: {after: 4KiB, to: client}. */
export function flow(value) {
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  if (value !== null && typeof value === "object") return `{${pairs(value)}}`;
  if (typeof value !== "string") return String(value);
  return isPlain(value) ? value : JSON.stringify(value);
}

/** The keys of a mapping as YAML on one line, without its braces; an empty value is left out, as one writes it. */
export function pairs(mapping) {
  return Object.entries(mapping).map(([key, value]) => `${key}: ${isEmpty(value) ? "" : flow(value)}`.trim()).join(", ");
}

function isEmpty(value) {
  return value === null || (typeof value === "object" && !Array.isArray(value) && !Object.keys(value).length);
}

function isPlain(text) {
  const isOther = /^(?:true|false|yes|no|on|off|null|y|n|~|[-+.]?[0-9][-+0-9_.:eE]*|0[xob].*)$/i.test(text);
  return /^[A-Za-z0-9_./%*-][A-Za-z0-9_ ./%*+-]*(?::[A-Za-z0-9/][A-Za-z0-9_./%*+-]*)*$/.test(text)
    && !isOther && !/^[-*%]|^\.$| $/.test(text);
}

/** A rule in the short forms in which one writes it: after: 4KiB, client: 10.0.0.0/8. */
export function brief(value, key) {
  if (Array.isArray(value)) return value.length === 1 && LISTS.has(key) ? value[0] : value;
  if (value === null || typeof value !== "object") return value;
  const [only, ...more] = Object.keys(value);
  if (key === "after" && !more.length && (only === "bytes" || only === "time")) return value[only];
  return Object.fromEntries(Object.entries(value).map(([inner, its]) => [inner, brief(its, inner)]));
}

/** Text as one word of a shell's command line. */
export function shellWord(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
