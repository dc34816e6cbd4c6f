import assert from "node:assert/strict";
import { OpenAISampler } from "../../../dist/index.js";
import { accepted } from "../refusal.mjs";
import { headed } from "../text.mjs";

export const dictionary = [
  ...[
    "choices",
    "index",
    "text",
    "finish_reason",
    "token_ids",
    "prompt_token_ids",
    "logprobs",
    "tokens",
  ],
  ...[
    "token_logprobs",
    "content",
    "token_id:7",
    "id",
    "logprob",
    "weight_version",
    "system_fingerprint",
  ],
  ...["data", "owned_by", "firesteel", "vocab_size", "stop", "length", "200", "429", "retry-after"],
];

const prompt = { id: "p", messages: [], tokens: Int32Array.of(1, 2), label: null, columns: {} };
const request = {
  prompts: [prompt],
  counts: [2],
  streams: [
    [1, 2],
    [3, 4],
  ],
  temperature: 1,
  greedy: false,
  stop: [],
  maxCompletionLength: 8,
  hook: null,
  signal: null,
};
const options = { url: "http://server", retries: 0, patienceSeconds: 0, rolloutsPerRequest: 2 };

/** Puts answers in the place of the network: text by text, each with the status before it. */
function answering(answers) {
  globalThis.fetch = async () => {
    const { head, body } = answers.shift() ?? { head: "500", body: Buffer.alloc(0) };
    const status = /^[2-5]\d\d$/.test(head) ? Number(head) : 200;
    const empty = [204, 205, 304].includes(status);
    return new Response(empty ? null : body, { status });
  };
}

/**
 * What a server says of its models, and behind a line of three hyphens its completions. The sampler gives
 * the rollouts that were asked for, whole, or ERR_SAMPLER.
 */
export async function fuzz(bytes) {
  const at = bytes.indexOf("\n---\n");
  const parts = at === -1 ? [bytes] : [bytes.subarray(0, at), bytes.subarray(at + 5)];
  answering(parts.map(headed));
  const sampler = await accepted(() => OpenAISampler.connect(options));
  const rollouts = sampler && (await accepted(() => sampler.sample(request)));
  if (rollouts === null) return;
  assert.equal(rollouts.length, 2);
  for (const { actions, columns } of rollouts) {
    const { values } = columns.samplerLogProb;
    assert.ok(actions.ids.length >= 1 && actions.ids.length <= 8);
    assert.equal(values.length, actions.ids.length);
    assert.ok(values.every((value) => Number.isFinite(value)));
    assert.ok(actions.ids.every((id) => id >= 0));
  }
}
