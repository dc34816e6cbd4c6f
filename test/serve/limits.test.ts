import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { beforeAll, describe, expect, it, test } from "vitest";
import type { PolicyServer } from "../../src/serve/serve.js";
import { complete, engine, events, newPolicy, post, savedPolicy, started } from "./client.js";

/** No tokenizer, so no end: a completion takes as long as it is asked to be. */
const endless = newPolicy(1, { maxLength: 4096 }, false);
let folder: string;
let server: PolicyServer;
beforeAll(async () => {
  folder = await savedPolicy(endless);
  server = await started({ policy: folder, maxTokens: 100_000, maxBodyBytes: 100_000 });
});

const long = { prompt: [1, 2, 3], max_tokens: 4000 };

async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`never: ${condition}`);
    await delay(5);
  }
}

describe("what cannot be honoured is refused with the parameter's name", () => {
  it.each([
    [{}, "prompt", "missing"],
    [{ prompt: null }, "prompt", "missing"],
    [{ prompt: [] }, "prompt", "invalid_value"],
    [{ prompt: [[]] }, "prompt", "invalid_value"],
    [{ prompt: [1, "a"] }, "prompt", "invalid_value"],
    [{ prompt: [1.5] }, "prompt", "invalid_value"],
    [{ prompt: [-1] }, "prompt", "invalid_value"],
    [{ prompt: [8] }, "prompt", "invalid_value"],
    [{ prompt: [1e300] }, "prompt", "invalid_value"],
    [{ prompt: { text: "1" } }, "prompt", "invalid_value"],
    [{ max_tokens: 0 }, "max_tokens", "invalid_value"],
    [{ max_tokens: 1e300 }, "max_tokens", "invalid_value"],
    [{ max_tokens: "5" }, "max_tokens", "invalid_value"],
    [{ max_tokens: 4000, n: 26 }, "max_tokens", "too_many_tokens"],
    [{ n: 0 }, "n", "invalid_value"],
    [{ n: 257 }, "n", "too_many_completions"],
    [{ prompt: [[1], [2]], n: 129 }, "n", "too_many_completions"],
    [{ temperature: -1 }, "temperature", "invalid_value"],
    [{ temperature: 1e-30 }, "temperature", "invalid_value"],
    [{ temperature: "hot" }, "temperature", "invalid_value"],
    [{ stop: [""] }, "stop", "invalid_value"],
    [{ stop: 5 }, "stop", "invalid_value"],
    [{ stop: "end" }, "stop", "invalid_value"],
    [{ stop_token_ids: [8] }, "stop_token_ids", "invalid_value"],
    [{ seed: -1 }, "seed", "invalid_value"],
    [{ seed: 1.5 }, "seed", "invalid_value"],
    [{ seed: 1, streams: [[1, 2]] }, "streams", "invalid_value"],
    [{ streams: [[1, 2], [3, 4]] }, "streams", "invalid_value"], // biome-ignore format: a table
    [{ streams: [[1, 2 ** 32]] }, "streams", "invalid_value"],
    [{ logprobs: 5 }, "logprobs", "invalid_value"],
    [{ logprobs: true }, "logprobs", "invalid_value"],
    [{ stream: "yes" }, "stream", "invalid_value"],
    [{ stream_options: { include_usage: true } }, "stream_options", "invalid_value"],
    [{ stream: true, stream_options: { usage: 1 } }, "stream_options", "invalid_value"],
    [{ top_p: 0.9 }, "top_p", "unsupported_parameter"],
    [{ top_k: 40 }, "top_k", "unsupported_parameter"],
    [{ min_p: 0.1 }, "min_p", "unsupported_parameter"],
    [{ frequency_penalty: 1 }, "frequency_penalty", "unsupported_parameter"],
    [{ presence_penalty: 1 }, "presence_penalty", "unsupported_parameter"],
    [{ repetition_penalty: 1.1 }, "repetition_penalty", "unsupported_parameter"],
    [{ best_of: 3 }, "best_of", "unsupported_parameter"],
    [{ echo: true }, "echo", "unsupported_parameter"],
    [{ suffix: "." }, "suffix", "unsupported_parameter"],
    [{ logit_bias: { 1: 5 } }, "logit_bias", "unsupported_parameter"],
    [{ user: "me" }, "user", "unsupported_parameter"],
    [{ max_token: 3 }, "max_token", "unknown_parameter"],
    [{ toString: 3 }, "toString", "unknown_parameter"],
  ] as const)("%j", async (given, param, code) => {
    const asked = "prompt" in given || Object.keys(given).length === 0 ? {} : { prompt: [1] };
    const { status, body } = await complete(server, { ...asked, ...given });
    expect(status).toBe(400);
    expect(body.error).toMatchObject({ type: "invalid_request_error", param, code });
    expect(body.error.message).toMatch(/^Expected /);
  });

  it("what changes nothing may be said", async () => {
    const { status } = await complete(server, {
      ...{ prompt: [1], top_p: 1, top_k: -1, frequency_penalty: 0, presence_penalty: 0 },
      ...{ best_of: 1, echo: false, suffix: null, user: null, stop: null, seed: null },
    });
    expect(status).toBe(200);
  });
});

describe("bodies", () => {
  it.each([
    ["{", "invalid_json"],
    ["", "invalid_json"],
    ["[]", "invalid_json"],
    ["null", "invalid_json"],
    [`${"[".repeat(40_000)}`, "invalid_json"],
    ['{"prompt": NaN}', "invalid_json"],
  ])("that are no JSON object are refused: %.12s", async (body, code) => {
    const answer = await post(server, "/v1/completions", body);
    expect([answer.status, answer.body.error.code]).toEqual([400, code]);
  });

  it("of another type are refused", async () => {
    const types: Record<string, string>[] = [
      { "content-type": "text/plain" },
      { "content-type": "application/json", "content-encoding": "gzip" },
    ];
    for (const headers of types) {
      const answer = await post(server, "/v1/completions", "{}", { headers });
      expect(answer.status).toBe(415);
    }
  });

  it("that are too long are refused, said so beforehand or not", async () => {
    const text = JSON.stringify({ prompt: "1".repeat(200_000) });
    expect((await post(server, "/v1/completions", text)).status).toBe(413);
    const { hostname, port } = new URL(server.url);
    const headers = { "content-type": "application/json" };
    const chunked = httpRequest({
      ...{ hostname, port, headers, method: "POST", path: "/v1/completions" },
    });
    for (let i = 0; i < 10; ++i) chunked.write(text.slice(0, 20_000));
    chunked.end();
    const [response] = await once(chunked, "response");
    expect(response.statusCode).toBe(413);
    response.resume();
  });

  it("that break off do no harm", async () => {
    const { hostname, port } = new URL(server.url);
    const socket = connect(Number(port), hostname);
    socket.write("POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    socket.write("Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{");
    await until(() => server.active === 1);
    socket.destroy();
    await until(() => server.active === 0);
  });
});

describe("who may ask", () => {
  it("a key is asked for, except of health checks", async () => {
    const locked = await started({ policy: folder, apiKey: "secret" });
    const ask = (authorization?: string) =>
      fetch(`${locked.url}/v1/models`, { headers: authorization ? { authorization } : {} });
    expect((await ask()).status).toBe(401);
    expect((await ask("Bearer secres")).status).toBe(401);
    expect((await ask("Bearer secret")).status).toBe(200);
    expect((await fetch(`${locked.url}/health`)).status).toBe(200);
  });

  it("a page under another name cannot reach a local server", async () => {
    const { hostname, port } = new URL(server.url);
    const headers = { host: `rebound.example:${port}` };
    const foreign = httpRequest({ hostname, port, headers, path: "/v1/models" }).end();
    const [response] = await once(foreign, "response");
    expect(response.statusCode).toBe(403);
    response.resume();
  });
});

test("more requests than may wait are told when to come again", async () => {
  const narrow = await started({ policy: folder, maxConcurrent: 3 });
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => complete(narrow, { ...long, max_tokens: 200 })),
  );
  const refused = answers.filter(({ status }) => status === 429);
  expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThanOrEqual(3);
  expect(refused.length).toBeGreaterThan(0);
  expect(refused[0]!.headers.get("retry-after")).toBe("1");
  expect(refused[0]!.body.error.type).toBe("rate_limit_error");
});

test("a request that takes too long is told so, and its rollouts end", async () => {
  const hasty = await started({ policy: folder, timeoutSeconds: 0.4 });
  const { status, body } = await complete(hasty, { ...long, n: 64 });
  expect([status, body.error.code]).toEqual([504, "timeout"]);
  const streamed = await events(hasty, { ...long, n: 64, return_token_ids: true });
  expect(streamed.length).toBeGreaterThan(1);
  expect(streamed.at(-1).error.code).toBe("timeout");
  // 256,000 tokens would hold the next ones up for seconds.
  const next = [];
  for (let i = 0; i < 3; ++i) next.push(await complete(hasty, { prompt: [1], max_tokens: 1 }));
  expect(next.map((answer) => answer.status)).toContain(200);
});

test("a client that goes away ends its rollouts and nobody else's", async () => {
  const patient = complete(server, { prompt: [1, 2], max_tokens: 600, return_token_ids: true });
  const gone = new AbortController();
  const leaving = post(server, "/v1/completions", { ...long, n: 20 }, { signal: gone.signal });
  await until(() => server.active === 2);
  await delay(20);
  gone.abort();
  await expect(leaving).rejects.toThrow();
  await until(() => server.active <= 1);
  expect((await patient).body.choices[0].token_ids).toHaveLength(600);
});

test("a hundred clients at once are all answered, and nothing is left in memory", async () => {
  const asked = { prompt: [1, 2, 3], max_tokens: 20, n: 2, return_token_ids: true };
  await complete(server, asked);
  const before = engine.memory();
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, i) => complete(server, { ...asked, seed: i % 10 })),
  );
  expect(answers.every(({ status }) => status === 200)).toBe(true);
  for (const [i, { body }] of answers.entries()) {
    expect(body.choices).toEqual(answers[i % 10]!.body.choices);
  }
  await until(() => server.active === 0);
  expect(engine.memory().live).toBe(before.live);
});

test("a policy that has broken down says so", async () => {
  const broken = newPolicy(2, {}, false);
  const [embedding] = broken.parameters;
  embedding!.value.write(new Float32Array(embedding!.value.size).fill(Number.NaN));
  const failing = await started({ policy: await savedPolicy(broken) });
  const { status, body } = await complete(failing, { prompt: [1] });
  expect([status, body.error.code]).toEqual([500, "broken_policy"]);
});

test("what runs is finished before the server stops, and new requests are refused", async () => {
  const stopping = await started({ policy: folder });
  const running = complete(stopping, { ...long, max_tokens: 500, return_token_ids: true });
  await until(() => stopping.active === 1);
  // Keeps its connection, and asks once more on it.
  const closed = stopping.close();
  const late = complete(stopping, { prompt: [1] }).then(
    ({ status }) => status,
    () => "no connection",
  );
  expect([503, "no connection"]).toContain(await late);
  expect((await running).body.choices[0].token_ids).toHaveLength(500);
  await closed;
  await expect(fetch(`${stopping.url}/health`)).rejects.toThrow();
});

test("an abort ends what runs with an error", async () => {
  const stopping = await started({ policy: folder });
  const running = complete(stopping, { ...long, n: 20 });
  await until(() => stopping.active === 1);
  await delay(20);
  stopping.abort();
  expect((await running).status).toBe(503);
  await stopping.close();
});
