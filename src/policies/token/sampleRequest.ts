import type { SampleRequest } from "../../contract/index.js";
import { checkInteger, invalid } from "../../engine/checks.js";
import { checkRollouts } from "../sampleRequest.js";
import type { TokenConfig } from "./config.js";
import { checkIds, checkPrompt } from "./packing.js";

/**
 * Refuses what cannot be sampled, before anything is enqueued.
 *
 * @throws FiresteelError ERR_SHAPE, ERR_RANGE, ERR_SAMPLER (a hook), ERR_OPTION (what only a flow
 *   policy can do)
 */
export function checkRequest(config: TokenConfig, request: SampleRequest): void {
  const { prompts, stop } = request;
  checkRollouts(request);
  for (const name of ["flow", "noiseStreams", "starts"] as const) {
    if (request[name] === undefined) continue;
    throw invalid("ERR_OPTION", name, "nothing (the policy acts by tokens)", request[name]);
  }
  for (const [i, id] of stop.entries()) checkInteger(`stop[${i}]`, id, 0, config.vocabSize - 1);
  const shorter = { ...config, maxLength: config.maxLength - 1 };
  for (const [i, { tokens }] of prompts.entries()) {
    checkPrompt(`prompts[${i}]`, tokens, shorter);
    checkIds(`prompts[${i}].tokens`, tokens, config.vocabSize);
  }
}
