// An HTTP service that scores rollouts: POST /score?system=grpo with JSON lines (docs/score.md), one JSON line each comes back.
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
 * The body goes to the disk first: statistics need every reward before the first loss, and what a request takes of
 * memory does not grow with the length of its completions.
 */
async function score(request, response, signal) {
  const { searchParams } = new URL(request.url, "http://localhost");
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

/** What the client did wrong is a 400 with the error's code; all else is ours. */
function refuse(response, error) {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const known = error instanceof FiresteelError || error instanceof TooLarge;
  if (!known) console.error(error);
  const status = error instanceof TooLarge ? 413 : known ? 400 : 500;
  const body = known ? { code: error.code, message: error.message } : { message: "internal error" };
  response.writeHead(status, { "content-type": "application/json", connection: "close" });
  response.end(JSON.stringify({ error: body }));
}

const server = createServer((request, response) => {
  if (request.method !== "POST" || !request.url.startsWith("/score")) {
    response.writeHead(404).end();
    return;
  }
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  score(request, response, gone.signal).catch((error) => {
    if (!gone.signal.aborted) refuse(response, error);
    else console.log("a client left: its work is dropped");
  });
});

server.listen(Number(process.argv[2] ?? 8080), "127.0.0.1", () => {
  console.log(`scoring at http://127.0.0.1:${server.address().port}/score (${engine.info.name})`);
});
process.once("SIGTERM", () => server.close(() => engine.dispose()));
