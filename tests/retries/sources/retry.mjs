// node's fetch, and undici's RetryAgent with its defaults: argv is the URL, which of the two, and where undici is.
const [url, which, undici] = process.argv.slice(2);
try {
  if (which === "fetch") {
    await (await fetch(url)).text();
  } else {
    const { Agent, RetryAgent, request } = await import(undici);
    const answer = await request(url, { dispatcher: new RetryAgent(new Agent()) });
    await answer.body.text();
  }
} catch (error) {
  console.log(error.code ?? error.cause?.code ?? error.message);
}
