import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { parseCompletionRequest } from "../../../dist/serve/completionRequest.js";
import { Refusal } from "../../../dist/serve/refusal.js";
import { readBody } from "../../../dist/serve/requestBody.js";

export const dictionary = [
  ...[
    "prompt",
    "model",
    "max_tokens",
    "temperature",
    "n",
    "stop",
    "stop_token_ids",
    "seed",
    "logprobs",
  ],
  ...[
    "stream",
    "stream_options",
    "include_usage",
    "return_token_ids",
    "streams",
    "greedy",
    "top_p",
  ],
  ...["logit_bias", "best_of", "echo", "null", "true", "4294967295", "9007199254740993", "1e-5"],
];

/** The body of a completions request: understood, or refused with a status of the client's fault. */
export async function fuzz(bytes) {
  const request = Object.assign(Readable.from([Buffer.from(bytes)]), {
    headers: { "content-type": "application/json" },
  });
  let parsed;
  try {
    parsed = parseCompletionRequest(await readBody(request, 2 ** 16));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    assert.ok(error.status >= 400 && error.status < 500, error.message);
    assert.equal(JSON.parse(JSON.stringify(error.body)).error.message, error.message);
    return;
  }
  assert.ok(parsed.prompts.length > 0 && parsed.prompts.every(({ length }) => length >= 0));
  assert.ok(parsed.streams === null || parsed.streams.length === parsed.prompts.length * parsed.n);
}
