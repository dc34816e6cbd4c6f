import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { SampleRequest } from "../../src/contract/index.js";
import { EmbeddedSampler } from "../../src/samplers/embedded.js";
import { OpenAISampler } from "../../src/samplers/openai.js";
import type { OpenAISamplerOptions } from "../../src/samplers/openaiOptions.js";
import { prompt, request } from "../policies/rows.js";
import { newFolder, newPolicy, savedPolicy, started } from "../serve/client.js";

// biome-ignore lint/suspicious/noExplicitAny: bodies are looked at field by field
type Body = any;
type Reply = { status?: number; headers?: Record<string, string>; body: unknown } | "hang";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

/** A server of somebody else's, which answers as the test says. */
async function foreign(
  reply: (body: Body, attempt: number) => Reply,
  models: unknown = { data: [{ id: "their-model", owned_by: "vllm" }] },
): Promise<{ url: string; asked: Body[] }> {
  const asked: Body[] = [];
  const server = createServer(async (incoming, response) => {
    let text = "";
    for await (const chunk of incoming) text += chunk;
    if (incoming.url === "/v1/models") {
      response.end(JSON.stringify(models));
      return;
    }
    asked.push(JSON.parse(text));
    const answer = reply(asked.at(-1), asked.length);
    if (answer === "hang") return;
    const { status = 200, headers = {}, body } = answer;
    response.writeHead(status, headers).end(typeof body === "string" ? body : JSON.stringify(body));
  });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

/** What vLLM answers with `return_token_ids`: n times two tokens. */
function sound({ n, prompt }: Body): Body {
  const choices = Array.from({ length: n }, (_, index) => ({
    index,
    text: `t${index}`,
    token_ids: [index, 7],
    prompt_token_ids: prompt,
    logprobs: { tokens: ["a", "b"], token_logprobs: [-0.5, -1.25] },
    finish_reason: index % 2 ? "length" : "stop",
    stop_reason: null,
  }));
  return { id: "cmpl-1", object: "text_completion", choices, usage: {} };
}

const wanted: SampleRequest = request({
  prompts: [prompt("a", [1, 2]), prompt("b", [3]), prompt("c", [4, 5, 6])],
  counts: [3, 0, 2],
  stop: [],
  maxCompletionLength: 6,
});

function connect(url: string, options: Partial<OpenAISamplerOptions> = {}) {
  return OpenAISampler.connect({
    url,
    retries: 1,
    ...options,
  });
}

describe("a server of somebody else's", () => {
  it("gives exactly the rollouts asked for, in order, by token ids", async () => {
    const { url, asked } = await foreign((body) => ({ body: sound(body) }));
    const sampler = await connect(url);
    const rollouts = await sampler.sample(wanted);
    expect(asked.map(({ prompt, n }) => [prompt, n])).toEqual([
      [[1, 2], 3],
      [[4, 5, 6], 2],
    ]);
    expect(asked[0]).toMatchObject({
      ...{ model: "their-model", max_tokens: 6, temperature: wanted.temperature },
      ...{ return_token_ids: true, logprobs: 1 },
    });
    expect(rollouts.map(({ id, prompt: { id: of }, text }) => [id, of, text])).toEqual([
      [0, "a", "t0"],
      [1, "a", "t1"],
      [2, "a", "t2"],
      [3, "c", "t0"],
      [4, "c", "t1"],
    ]);
    expect(rollouts[1]).toEqual({
      id: 1,
      prompt: wanted.prompts[0],
      actions: { kind: "tokens", length: 2, ids: Int32Array.of(1, 7) },
      mask: Uint8Array.of(1, 1),
      columns: { samplerLogProb: { level: "action", values: Float32Array.of(-0.5, -1.25) } },
      keys: { prompt: "a" },
      rewards: {},
      reward: null,
      text: "t1",
      finish: "length",
      policyVersion: 0,
      info: {},
    });
  });

  it("is asked for one at a time where it knows no n", async () => {
    const { url, asked } = await foreign((body) => ({ body: sound(body) }));
    const sampler = await connect(url, { rolloutsPerRequest: 1 });
    expect(await sampler.sample(wanted)).toHaveLength(5);
    expect(asked.map(({ n }) => n)).toEqual([1, 1, 1, 1, 1]);
    expect(new Set(asked.map(({ seed }) => seed)).size).toBe(5);
  });

  it("that has no models is none", async () => {
    const { url } = await foreign((body) => ({ body: sound(body) }), { data: [] });
    await expect(connect(url, { retries: 0 })).rejects.toThrow(/a list of models .*data is wrong/);
  });

  it("may say token ids as vLLM's token_id:7 or as llama.cpp's logprobs.content", async () => {
    for (const spell of [
      { tokens: ["token_id:3", "token_id:9"], token_logprobs: [-1, -2] },
      {
        content: [
          { id: 3, token: "x", logprob: -1 },
          { id: 9, token: "y", logprob: -2 },
        ],
      },
    ]) {
      const choice = { index: 0, text: "xy", finish_reason: "stop", logprobs: spell };
      const { url } = await foreign(() => ({ body: { choices: [choice] } }));
      const sampler = await connect(url);
      const one = { ...wanted, counts: [1, 0, 0], streams: wanted.streams.slice(0, 1) };
      const [rollout] = await sampler.sample(one);
      expect(rollout!.actions).toMatchObject({ ids: Int32Array.of(3, 9) });
    }
  });

  it("claims what it can, and is refused what it cannot", async () => {
    const { url } = await foreign((body) => ({ body: sound(body) }));
    const sampler = await connect(url);
    expect([...sampler.capabilities].sort()).toEqual(["greedy", "logProbs"]);
    await expect(sampler.sample({ ...wanted, stop: [3] })).rejects.toMatchObject({
      code: "ERR_SAMPLER",
    });
    const hook = { top: 1, answers: [], decide: () => ({ do: "continue" }) as const };
    await expect(sampler.sample({ ...wanted, hook })).rejects.toThrow(/no hook/);
    await expect(connect(url, { directory: "weights" })).rejects.toThrow(
      /Expected firesteel serve/,
    );
    await expect(connect(url, { model: "other" })).rejects.toThrow(/one of "their-model"/);
  });

  it("is not trained on when its weights lie behind, unless that is allowed", async () => {
    const { url } = await foreign((body) => ({ body: sound(body) }));
    const policy = newPolicy();
    const strict = await connect(url);
    await strict.refresh(0, policy);
    await strict.sample(wanted);
    await expect(strict.refresh(1, policy)).rejects.toThrow(/Expected weights 1 .*allowStale/);
    const patient = await connect(url, { allowStale: true });
    await patient.refresh(7, policy);
    expect((await patient.sample(wanted))[0]!.policyVersion).toBe(0);
  });
});

/** A sound answer, with one thing changed. */
function spoilt(change: (body: Body) => void): (body: Body) => Body {
  return (asked) => {
    const body = sound(asked);
    change(body);
    return body;
  };
}

describe("an answer that is not what it should be", () => {
  it.each<[string, (body: Body) => unknown, RegExp]>([
    ["a page", () => "<html>welcome</html>", /it is not JSON: <html>/],
    ["nothing", () => "", /it is not JSON/],
    ["another object", () => ({ ok: true }), /choices is wrong/],
    ["too few", spoilt(({ choices }) => choices.pop()), /completions came instead of/],
    ["too many", spoilt(({ choices }) => choices.push({ ...choices[0], index: 3 })), /instead of/],
    ["one twice", spoilt(({ choices }) => (choices[1].index = 0)), /index 0 came twice/],
    ["a gap", spoilt(({ choices }) => (choices[1].index = 9)), /index 9 came for/],
    ["no token ids", spoilt(({ choices }) => delete choices[0].token_ids), /no token ids/],
    ["no log-probs", spoilt(({ choices }) => (choices[0].logprobs = {})), /no log-probs/],
    ["null log-probs", spoilt(({ choices }) => (choices[0].logprobs = null)), /logprobs is wrong/],
    [
      "NaN",
      spoilt(({ choices }) => (choices[0].logprobs.token_logprobs[1] = null)),
      /token_logprobs\.1 is wrong/,
    ],
    [
      "a log-prob over 0",
      spoilt(({ choices }) => (choices[0].logprobs.token_logprobs[1] = 0.5)),
      /0\.5 for a log-prob/,
    ],
    [
      "a log-prob that float32 cannot hold",
      spoilt(({ choices }) => (choices[0].logprobs.token_logprobs[1] = -1e300)),
      /-Infinity for a log-prob/,
    ],
    [
      "more log-probs than tokens",
      spoilt(({ choices }) => choices[0].logprobs.token_logprobs.push(-1)),
      /3 log-probs for 2 tokens/,
    ],
    ["no tokens", spoilt(({ choices }) => shorten(choices[0], 0)), /0 tokens of at most 6/],
    ["too many tokens", spoilt(({ choices }) => shorten(choices[0], 7)), /7 tokens of at most 6/],
    ["a negative id", spoilt(({ choices }) => (choices[0].token_ids[0] = -1)), /is wrong/],
    ["half an id", spoilt(({ choices }) => (choices[0].token_ids[0] = 0.5)), /is wrong/],
    [
      "an unknown end",
      spoilt(({ choices }) => (choices[0].finish_reason = "abort")),
      /finish_reason/,
    ],
    ["an open end", spoilt(({ choices }) => (choices[0].finish_reason = null)), /finish_reason/],
    ["no text", spoilt(({ choices }) => delete choices[0].text), /text is wrong/],
    [
      "another prompt",
      spoilt(({ choices }) => (choices[0].prompt_token_ids = [9])),
      /completes another prompt/,
    ],
  ])("%s: is asked for again, and then refused with what came", async (_, answer, message) => {
    const healed = await foreign((body, attempt) => ({
      body: attempt === 1 ? answer(body) : sound(body),
    }));
    const rollouts = await (await connect(healed.url)).sample(wanted);
    expect(rollouts.map(({ text }) => text)).toEqual(["t0", "t1", "t2", "t0", "t1"]);
    expect(healed.asked).toHaveLength(3);

    const { url } = await foreign((body) => ({ body: answer(body) }));
    const failing = (await connect(url, { retries: 0 })).sample(wanted);
    await expect(failing).rejects.toMatchObject({ code: "ERR_SAMPLER" });
    await expect(failing).rejects.toThrow(message);
    await expect(failing).rejects.toThrow(`completions from ${url}/v1/completions`);
  });
});

function shorten(choice: Body, length: number): void {
  choice.token_ids = new Array(length).fill(1);
  choice.logprobs.token_logprobs = new Array(length).fill(-1);
}

describe("a server that fails", () => {
  it("with 500 or a time-out is asked again so often and no more", async () => {
    const failing = await foreign(() => ({ status: 500, body: "broken" }));
    const sampler = await connect(failing.url, { retries: 2, concurrency: 1 });
    await expect(sampler.sample(wanted)).rejects.toThrow(/status 500 came: broken \(attempt 3/);
    // The second prompt's rollouts are of no use any more.
    expect(failing.asked).toHaveLength(3);

    const hanging = await foreign(() => "hang");
    const hasty = await connect(hanging.url, { retries: 1, timeoutSeconds: 0.0505 });
    await expect(hasty.sample(wanted)).rejects.toThrow(/nothing came in 0\.0505 s \(attempt 2/);
  });

  it("with 400 is not asked again", async () => {
    const { url, asked } = await foreign(() => ({ status: 400, body: { error: "no such thing" } }));
    const one = { ...wanted, counts: [1, 0, 0], streams: wanted.streams.slice(0, 1) };
    const failing = (await connect(url, { retries: 9 })).sample(one);
    await expect(failing).rejects.toThrow(/status 400 came: .*no such thing/);
    expect(asked).toHaveLength(1);
  });

  it("by being busy is asked when it says, however often, until patience ends", async () => {
    const busy = await foreign((body, attempt) =>
      attempt <= 6
        ? { status: attempt % 2 ? 429 : 503, headers: { "retry-after": "0.01" }, body: "" }
        : { body: sound(body) },
    );
    const sampler = await connect(busy.url, { retries: 0, concurrency: 1 });
    expect(await sampler.sample(wanted)).toHaveLength(5);

    const always = await foreign(() => ({
      status: 503,
      headers: { "retry-after": "60" },
      body: "",
    }));
    const impatient = await connect(always.url, { patienceSeconds: 0.2 });
    await expect(impatient.sample(wanted)).rejects.toThrow(/status 503/);
  });

  it("by not being there is waited for until patience ends, and says why", async () => {
    const told: string[] = [];
    const nobody = connect("http://127.0.0.1:9", {
      patienceSeconds: 0.3,
      onRetry: (message) => told.push(message),
    });
    await expect(nobody).rejects.toMatchObject({ code: "ERR_SAMPLER" });
    await expect(nobody).rejects.toThrow(/list of models from http:\/\/127.0.0.1:9\/v1\/models/);
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/cannot be reached/);
  });

  it("is left at once when the call is aborted", async () => {
    const { url } = await foreign(() => "hang");
    const stop = new AbortController();
    const sampler = await connect(url, { retries: 9 });
    const sampling = sampler.sample({ ...wanted, signal: stop.signal });
    setTimeout(() => stop.abort(), 50);
    await expect(sampling).rejects.toMatchObject({ code: "ERR_ABORTED" });
    const waiting = OpenAISampler.connect({ url: "http://127.0.0.1:9" }, AbortSignal.timeout(50));
    await expect(waiting).rejects.toMatchObject({ code: "ERR_ABORTED" });
    const aborted = sampler.sample({ ...wanted, signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ code: "ERR_ABORTED" });
  });
});

describe("firesteel serve", () => {
  const policy = newPolicy(3);
  const asked = request({
    prompts: [prompt("a", [1, 2]), prompt("b", [3]), prompt("c", [4, 5, 6])],
    counts: [70, 1, 4],
    stop: [],
    maxCompletionLength: 12,
    temperature: 0.8,
  });

  it("gives the policy's own rollouts, bit for bit", async () => {
    const directory = join(await newFolder(), "weights");
    const server = await started({ policy: directory, wait: true });
    const sampler = await connect(`${server.url}/v1/`, { directory });
    expect(sampler.capabilities).toEqual(
      new Set(["logProbs", "greedy", "streams", "stop", "currentWeights"]),
    );
    await sampler.refresh(5, policy);
    const own = new EmbeddedSampler(policy);
    await own.refresh(5);
    // Prompts of equal counts share a request: 64 rollouts of two, 64 of the third, 4.
    const { prompts, stop, maxCompletionLength, temperature } = asked;
    const counts = [32, 32, 68];
    const shared = request({ prompts, counts, stop, maxCompletionLength, temperature });
    for (const change of [{}, { greedy: true }, { stop: [2, 0] }, shared]) {
      const wanted = { ...asked, ...change };
      expect(await sampler.sample(wanted)).toEqual(await own.sample(wanted));
    }
  });

  it("without a directory says itself how far its weights lie behind", async () => {
    const server = await started({ policy: await savedPolicy(policy) });
    const strict = await connect(server.url);
    expect(strict.capabilities.has("currentWeights")).toBe(false);
    await strict.refresh(3, policy);
    await expect(strict.sample(asked)).rejects.toThrow(/those of 3 optimiser steps before/);
    const patient = await connect(server.url, { allowStale: true });
    await patient.refresh(3, policy);
    const rollouts = await patient.sample(asked);
    expect(new Set(rollouts.map(({ policyVersion }) => policyVersion))).toEqual(new Set([0]));
  });

  it("that loads no weights is not waited for after an abort", async () => {
    const [mine, other] = [await newFolder(), await newFolder()];
    const server = await started({ policy: other, wait: true });
    const stop = new AbortController();
    const onRetry = () => stop.abort();
    const sampler = await connect(server.url, { directory: mine, retries: 1000, onRetry });
    const waiting = sampler.refresh(1, policy, stop.signal);
    await expect(waiting).rejects.toMatchObject({ code: "ERR_ABORTED" });
  });

  it("that reads another folder, or others' weights, is not believed", async () => {
    const [mine, other] = [await newFolder(), await newFolder()];
    const server = await started({ policy: other, wait: true });
    const sampler = await connect(server.url, { directory: mine, retries: 0 });
    await expect(sampler.refresh(1, policy)).rejects.toThrow(/Expected weights 1 .*it holds none/);

    const shared = await connect(server.url, { directory: other, retries: 0 });
    await shared.refresh(1, policy);
    const rival = await connect(server.url, { directory: other });
    await rival.refresh(1, newPolicy(9));
    await expect(shared.sample(asked)).rejects.toThrow(/comes from weights 1 \(\w+\) instead of 1/);
  });

  it("asks for its key", async () => {
    const server = await started({ policy: await savedPolicy(policy), apiKey: "secret" });
    await expect(connect(server.url)).rejects.toThrow(/status 401/);
    expect(await (await connect(server.url, { apiKey: "secret" })).sample(asked)).toHaveLength(75);
  });
});

it.each([
  [{ url: "localhost:8000" }, /sampler\.url/],
  [{ url: "" }, /sampler\.url/],
  [{ url: "http://user@localhost" }, /sampler\.url/],
  [{ retries: -1 }, /sampler\.retries/],
  [{ timeoutSeconds: 301 }, /sampler\.timeoutSeconds/],
  [{ concurrancy: 3 }, /did you mean "concurrency"/],
  [{ directory: "" }, /sampler\.directory/],
  [{ directory: "weights", allowStale: true }, /sampler\.allowStale/],
])("options that mean nothing are refused before anything is asked: %j", async (given, message) => {
  const options = { url: "http://127.0.0.1:9", ...given } as OpenAISamplerOptions;
  await expect(OpenAISampler.connect(options)).rejects.toMatchObject({ code: "ERR_OPTION" });
  await expect(OpenAISampler.connect(options)).rejects.toThrow(message);
});
