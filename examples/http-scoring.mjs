// An HTTP service that scores rollouts: JSON lines come in (docs/score.md), one JSON line for each goes back.
// Run: node http-scoring.mjs [PORT]
//   curl --data-binary @rollouts.jsonl "http://127.0.0.1:8080/score?system=grpo&gradients=1"
import { mkdtemp, open, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { Engine, FiresteelError, namedSystem, scoreFile } from "firesteel";

const maxBytes = Number(process.env.MAX_BYTES ?? 64 * 2 ** 20);
const engine = new Engine();

class TooLarge extends Error {}

/** What the client can mend; any other error is the service's. */
const clientErrors = new Set(["ERR_SHAPE", "ERR_DTYPE", "ERR_RANGE", "ERR_OPTION"]);

/** Writes the body to a file. */
async function spool(request, path) {
  const file = await open(path, "w");
  try {
    let bytes = 0;
    // Leaving the loop must not end the connection: the refusal is still to be sent.
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      bytes += chunk.length;
      if (bytes > maxBytes) throw new TooLarge(`Expected at most ${maxBytes} bytes`);
      await file.writeFile(chunk);
    }
  } finally {
    await file.close();
  }
}

/**
 * The body goes to the disk first: an advantage needs the rewards of its whole group, and a request of any size takes
 * little memory.
 */
async function score(request, response, searchParams, signal) {
  const system = namedSystem(searchParams.get("system") ?? "grpo");
  const gradients = searchParams.get("gradients") === "1";
  const folder = await mkdtemp(join(tmpdir(), "scoring-"));
  try {
    const path = join(folder, "rollouts.jsonl");
    await spool(request, path);
    const results = scoreFile(engine, path, { system, gradients, signal });
    // Lines that cannot be used are found before the first result, while the answer can still be a 400.
    let next = await results.next();
    response.writeHead(200, { "content-type": "application/x-ndjson" });
    const lines = async function* () {
      for (; !next.done; next = await results.next()) yield `${JSON.stringify(next.value)}\n`;
      yield `${JSON.stringify({ summary: next.value })}\n`;
    };
    await pipeline(lines, response, { signal });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The errors of the client as 400 with their code, all others as 500 in the log. */
function refuse(response, error) {
  if (response.headersSent) {
    // Too late for a status: a body that breaks off tells the client.
    console.error(error);
    response.destroy();
    return;
  }
  const theirs = error instanceof FiresteelError && clientErrors.has(error.code);
  const tooLarge = error instanceof TooLarge;
  if (!theirs && !tooLarge) console.error(error);
  const { code, message } = theirs || tooLarge ? error : { message: "internal error" };
  const said = message.replace(/^.*rollouts\.jsonl: /, ""); // where our file lies is nobody's business
  const status = tooLarge ? 413 : theirs ? 400 : 500;
  response.writeHead(status, { "content-type": "application/json", connection: "close" });
  response.end(JSON.stringify({ error: { code, message: said } }));
}

const server = createServer((request, response) => {
  const [path, query] = request.url.split("?");
  if (request.method !== "POST" || path !== "/score") {
    response.writeHead(404).end();
    return;
  }
  const gone = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) gone.abort();
  });
  score(request, response, new URLSearchParams(query), gone.signal).catch((error) => {
    if (gone.signal.aborted) console.log("a client left: its work is dropped");
    else refuse(response, error);
  });
});

server.listen(Number(process.argv[2] ?? 8080), "127.0.0.1", () => {
  console.log(`scoring at http://127.0.0.1:${server.address().port}/score (${engine.info.name})`);
});
// Requests that are being scored are answered first.
process.once("SIGTERM", () => server.close(() => engine.dispose()));
