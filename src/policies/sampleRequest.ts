import type { SampleRequest } from "../contract/index.js";
import { checkInteger, invalid } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";

/** What holds for policies of every kind. @throws FiresteelError ERR_SHAPE, ERR_RANGE, ERR_SAMPLER (a hook) */
export function checkRollouts(request: SampleRequest): void {
  const { prompts, counts, streams, maxCompletionLength, hook } = request;
  if (hook !== null) {
    throw new FiresteelError("ERR_SAMPLER", "Expected no hook: this sampler does not offer them");
  }
  if (counts.length !== prompts.length) {
    throw invalid("ERR_SHAPE", "counts", `one per prompt (${prompts.length})`, counts);
  }
  for (const [i, count] of counts.entries()) checkInteger(`counts[${i}]`, count, 0, 2 ** 24);
  const total = counts.reduce((a, b) => a + b, 0);
  if (streams.length !== total) {
    throw invalid("ERR_SHAPE", "streams", `one per rollout (${total})`, streams);
  }
  checkInteger("maxCompletionLength", maxCompletionLength, 1, 2 ** 24);
}
