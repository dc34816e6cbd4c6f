import { beforeAll, describe, expect, it, test } from "vitest";
import { deriveStream } from "../../src/nn/random.js";
import type { PolicyServer } from "../../src/serve/serve.js";
import { prompt, request } from "../policies/rows.js";
import { complete, events, newPolicy, post, savedPolicy, started, tokenizer } from "./client.js";

const policy = newPolicy();
let server: PolicyServer;
beforeAll(async () => {
  server = await started({ policy: await savedPolicy(policy) });
});

const question = "12+3=";
const ids = [...tokenizer.encode(question)];

describe("completions", () => {
  it("are OpenAI's, with usage and the weights' version", async () => {
    const { status, headers, body } = await complete(server, { prompt: question, seed: 3 });
    expect(status).toBe(200);
    expect(headers.get("x-weight-version")).toBe("0");
    const { choices, usage } = body;
    expect(body).toEqual({
      id: expect.stringMatching(/^cmpl-/),
      object: "text_completion",
      created: expect.any(Number),
      model: "tiny",
      system_fingerprint: null,
      weight_version: 0,
      choices: [
        {
          index: 0,
          text: expect.any(String),
          logprobs: null,
          finish_reason: expect.stringMatching(/^(stop|length)$/),
        },
      ],
      usage,
    });
    expect(usage.prompt_tokens).toBe(ids.length);
    expect(usage.completion_tokens).toBeGreaterThanOrEqual(choices[0].text.length);
    expect(usage.total_tokens).toBe(usage.prompt_tokens + usage.completion_tokens);
  });

  it("are the policy's own rollouts: ids, log-probs, text and finish, named by streams", async () => {
    const streams = [deriveStream(1, 1), deriveStream(1, 2), deriveStream(1, 3)];
    const own = await policy.sample(
      request({
        prompts: [prompt("a", ids)],
        counts: [3],
        streams,
        temperature: 0.7,
        maxCompletionLength: 9,
        stop: [],
      }),
    );
    const { body } = await complete(server, {
      ...{ prompt: ids, n: 3, streams, temperature: 0.7, max_tokens: 9 },
      ...{ logprobs: 0, return_token_ids: true },
    });
    const found = body.choices.map(
      // biome-ignore lint/suspicious/noExplicitAny: an answer's field
      ({ token_ids, prompt_token_ids, logprobs, text, finish_reason }: any) => ({
        ids: token_ids,
        prompt: prompt_token_ids,
        logProb: logprobs.token_logprobs,
        texts: logprobs.tokens.join(""),
        offsets: logprobs.text_offset,
        text,
        finish: finish_reason,
      }),
    );
    expect(found).toEqual(
      own.map(({ actions, columns, text, finish }) => ({
        ids: actions.kind === "tokens" ? [...actions.ids] : [],
        prompt: ids,
        logProb: columns.samplerLogProb?.level === "action" && [...columns.samplerLogProb.values],
        texts: text,
        // Every symbol is one character; the end is none.
        offsets: Array.from({ length: actions.length }, (_, i) => i),
        text,
        finish,
      })),
    );
  });

  it("of a seed are the same in any company", async () => {
    const asked = { prompt: question, seed: 11, n: 2, max_tokens: 12, return_token_ids: true };
    const alone = await complete(server, asked);
    const others = Array.from({ length: 20 }, (_, i) =>
      complete(server, { ...asked, prompt: i % 2 ? "1=" : question, seed: i, n: 3 }),
    );
    const [together] = await Promise.all([complete(server, asked), ...others]);
    expect(together!.body.choices).toEqual(alone.body.choices);
    const other = await complete(server, { ...asked, seed: 12 });
    expect(other.body.choices).not.toEqual(alone.body.choices);
  });

  it("without a seed differ", async () => {
    const asked = { prompt: question, max_tokens: 30 };
    const texts = await Promise.all([1, 2, 3].map(() => complete(server, asked)));
    expect(new Set(texts.map(({ body }) => body.choices[0].text)).size).toBeGreaterThan(1);
  });

  it("of several prompts come in order, text and token ids alike", async () => {
    const texts = ["1=", "2+2=", "x"];
    const asked = { n: 2, seed: 5, max_tokens: 4, return_token_ids: true };
    const byText = await complete(server, { ...asked, prompt: texts });
    const encoded = texts.map((text) => [...tokenizer.encode(text)]);
    const byIds = await complete(server, { ...asked, prompt: encoded });
    expect(byText.body.choices).toEqual(byIds.body.choices);
    const prompts = byText.body.choices.map((choice: { prompt_token_ids: number[] }) =>
      tokenizer.decode(Int32Array.from(choice.prompt_token_ids)),
    );
    expect(prompts).toEqual(["1=", "1=", "2+2=", "2+2=", "x", "x"]);
  });

  it("at temperature 0 are the most probable ones", async () => {
    const asked = { prompt: question, max_tokens: 8, return_token_ids: true };
    const [one, two] = await Promise.all(
      [1, 2].map((seed) => complete(server, { ...asked, temperature: 0, seed })),
    );
    const greedy = await policy.sample(
      request({
        prompts: [prompt("a", ids)],
        counts: [1],
        greedy: true,
        maxCompletionLength: 8,
        stop: [],
      }),
    );
    const { actions } = greedy[0]!;
    expect(one!.body.choices[0].token_ids).toEqual(actions.kind === "tokens" && [...actions.ids]);
    expect(two!.body.choices).toEqual(one!.body.choices);
  });

  it("end before a stop text, and at a stop token", async () => {
    const asked = { prompt: question, seed: 3, max_tokens: 60, return_token_ids: true };
    const whole = (await complete(server, asked)).body.choices[0];
    const stop = whole.text.slice(2, 4);
    const cut = (await complete(server, { ...asked, stop: ["xxxxxxxx", stop] })).body.choices[0];
    expect(cut.text).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
    expect(cut.finish_reason).toBe("stop");
    const tokens = whole.text.indexOf(stop) + stop.length;
    expect(cut.token_ids).toEqual(whole.token_ids.slice(0, tokens));
    const id = whole.token_ids[1];
    const ended = (await complete(server, { ...asked, stop_token_ids: [id] })).body.choices[0];
    expect(ended.token_ids).toEqual(whole.token_ids.slice(0, whole.token_ids.indexOf(id) + 1));
    expect(ended.finish_reason).toBe("stop");
  });

  it("end where the context does", async () => {
    const short = await started({ policy: await savedPolicy(newPolicy(1, { maxLength: 8 })) });
    const asked = { prompt: [1, 2, 3], max_tokens: 100, n: 20, seed: 1, return_token_ids: true };
    const { choices } = (await complete(short, asked)).body;
    const lengths = choices.map(({ token_ids }: { token_ids: number[] }) => token_ids.length);
    expect(Math.max(...lengths)).toBe(5);
    const { status, body } = await complete(short, { prompt: [1, 2, 3, 4, 5, 6, 7, 0] });
    expect(status).toBe(400);
    expect(body.error).toMatchObject({ param: "prompt", code: "context_length_exceeded" });
  });
});

describe("streams", () => {
  const asked = {
    ...{ prompt: [question, "1="], n: 2, seed: 4, max_tokens: 20 },
    ...{ logprobs: 0, return_token_ids: true },
  };

  it("add up to the whole answer, end with usage where asked and then with [DONE]", async () => {
    const whole = (await complete(server, asked)).body;
    const found = await events(server, { ...asked, stream_options: { include_usage: true } });
    expect(found.pop()).toBe("[DONE]");
    expect(found.at(-1)).toMatchObject({ choices: [], usage: whole.usage, weight_version: 0 });
    const chunks = found.slice(0, -1);
    expect(chunks.every(({ usage }) => usage === null)).toBe(true);
    expect(chunks.length).toBeGreaterThan(whole.usage.completion_tokens);
    expect(new Set(found.map(({ id }) => id)).size).toBe(1);
    for (const choice of whole.choices) {
      const own = chunks.flatMap(({ choices }) => choices).filter((c) => c.index === choice.index);
      const joined = {
        index: choice.index,
        text: own.map(({ text }) => text).join(""),
        logprobs: {
          tokens: own.flatMap(({ logprobs }) => logprobs.tokens),
          token_logprobs: own.flatMap(({ logprobs }) => logprobs.token_logprobs),
          top_logprobs: null,
          text_offset: own.flatMap(({ logprobs }) => logprobs.text_offset),
        },
        finish_reason: own.at(-1).finish_reason,
        token_ids: own.flatMap(({ token_ids }) => token_ids),
        prompt_token_ids: own.at(-1).prompt_token_ids,
      };
      expect(joined).toEqual(choice);
    }
  });

  it("never show a part of a stop text", async () => {
    const plain = { prompt: question, seed: 3, max_tokens: 60 };
    const { text } = (await complete(server, plain)).body.choices[0];
    const stop = text.slice(3, 6);
    const found = await events(server, { ...plain, stop });
    expect(found.pop()).toBe("[DONE]");
    const texts = found.flatMap(({ choices }) => choices.map((c: { text: string }) => c.text));
    expect(texts.join("")).toBe(text.slice(0, text.indexOf(stop)));
    expect(found.every((event) => !("usage" in event))).toBe(true);
  });
});

test("models, health and what is not offered", async () => {
  const get = async (path: string) =>
    JSON.parse(await (await fetch(`${server.url}${path}`)).text());
  const list = await get("/v1/models");
  expect(list).toMatchObject({
    object: "list",
    data: [
      {
        ...{ id: "tiny", object: "model", owned_by: "firesteel", max_model_len: 1024 },
        ...{ vocab_size: 8, weight_version: 0 },
      },
    ],
  });
  expect(await get("/v1/models/tiny")).toEqual(list.data[0]);
  expect(await get("/health")).toMatchObject({ status: "ok", weight_version: 0 });
  const chat = await post(server, "/v1/chat/completions", { messages: [] });
  expect(chat.status).toBe(404);
  expect(chat.body.error.message).toMatch(/no chat template/);
  const other = await complete(server, { prompt: question, model: "gpt" });
  expect([other.status, other.body.error.code]).toEqual([404, "model_not_found"]);
  expect((await post(server, "/v1/embeddings", {})).status).toBe(404);
  const wrong = await fetch(`${server.url}/v1/completions`);
  expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "POST"]);
});

test("a policy without a tokenizer completes token ids, and says so of text", async () => {
  const bare = await started({ policy: await savedPolicy(newPolicy(1, {}, false)) });
  const { body } = await complete(bare, { prompt: [1, 2], max_tokens: 7, return_token_ids: true });
  expect(body.choices[0]).toMatchObject({ text: "", finish_reason: "length" });
  expect(body.choices[0].token_ids).toHaveLength(7);
  const refused = await complete(bare, { prompt: "1=" });
  expect(refused.body.error).toMatchObject({ param: "prompt" });
  expect(refused.body.error.message).toMatch(/no tokenizer/);
});
