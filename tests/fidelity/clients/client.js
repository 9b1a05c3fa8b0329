// A plain client in Node; protocol.md says what it reads and prints.

const net = require("node:net");
const readline = require("node:readline");

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Its message, without the address and the port, which differ from visit to visit.
const words = (error) => `${error.name}: ${error.syscall ?? "?"} ${error.code ?? error.message}`;

async function visit(host, port, verb, count, ...steps) {
  const start = performance.now();
  const elapsed = () => Math.floor(performance.now() - start);
  const said = {};
  const socket = new net.Socket({ allowHalfOpen: true });
  const seen = { bytes: 0, changed: [] };

  // What came before anybody asked for it is kept: an event, an error too, may come at any time.
  let [isOver, failure] = [false, null];
  let wake = () => {};
  const news = () => new Promise((resolve) => (wake = resolve));
  socket.on("error", (error) => ((failure = words(error)), wake()));
  socket.on("timeout", () => ((failure = "timeout"), wake()));
  socket.on("end", () => ((isOver = true), wake()));
  socket.on("data", (data) => {
    said.last_ms = elapsed();
    said.first_ms ??= said.last_ms;
    for (const byte of data) {
      if (byte !== seen.bytes % 251) seen.changed.push(seen.bytes);
      seen.bytes += 1;
    }
  });

  const until = async (isDone) => {
    while (!failure && !isDone()) await news();
  };
  const call = async (start) => {
    let isDone = false;
    start(() => ((isDone = true), wake()));
    await until(() => isDone);
  };
  const take = {
    connect: () => call((done) => socket.connect({ host, port: Number(port), noDelay: true }, done)),
    send: () => call((done) => socket.write(`${verb} ${count}\n`, done)),
    shut: () => call((done) => socket.end(done)),
    read: async () => {
      await until(() => isOver);
      Object.assign(said, { bytes: seen.bytes, changed: seen.changed.slice(0, 9).join() });
    },
    write: async (times) => {
      for (let i = 0; i < times && !failure; i++) {
        said.written = i;
        await sleep(20);
        await call((done) => socket.write("more\n", done));
      }
    },
  };

  for (const step of steps) {
    const [name, option] = step.split(":");
    if (name === "patience") {
      socket.setTimeout(Number(option));
      continue;
    }
    await take[name](option);
    said[name] = failure ?? (name === "read" ? "EOF" : "ok");
    if (failure) break;
  }
  said.end_ms = elapsed();
  socket.destroy();
  return said;
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const said = await visit(...line.split(" "));
    process.stdout.write(Object.entries(said).map(([key, value]) => `${key}=${value}`).join("\t") + "\n");
  }
}

main();
