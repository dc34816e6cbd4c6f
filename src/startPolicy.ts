import type { Task } from "./contract/task.js";
import { MAX_SYMBOLS } from "./data/alphabet.js";
import { show } from "./engine/checks.js";
import type { Engine } from "./engine/engine.js";
import { FiresteelError } from "./engine/error.js";
import { flowConfig } from "./policies/flow/config.js";
import { FlowPolicy } from "./policies/flow/flowPolicy.js";
import { checkFlowDType, openPolicy } from "./policies/openPolicy.js";
import { CharTokenizer } from "./policies/token/charTokenizer.js";
import { type PolicyDType, tinyConfig } from "./policies/token/config.js";
import { TokenPolicy } from "./policies/token/tokenPolicy.js";
import { streamAt } from "./trainer/random.js";

/** A folder's policy, with a value head where the system learns one. */
export async function openFolder(
  engine: Engine,
  folder: string,
  options: { dtype?: PolicyDType },
  valueHead: boolean,
  onWarning: (warning: string) => void,
): Promise<TokenPolicy | FlowPolicy> {
  const policy = await openPolicy(engine, folder, options);
  if (!valueHead || policy.kind === "flow" || policy.valueHead) return policy;
  policy.dispose();
  onWarning(`${folder} has no value head: the run begins with a fresh one`);
  return TokenPolicy.open(engine, folder, { ...options, valueHead });
}

/**
 * Fresh weights in the shape that was measured for the task.
 *
 * @throws FiresteelError ERR_OPTION where its texts have no closed alphabet, or the dtype is none of a flow
 *   policy's
 */
export function tinyPolicy(
  engine: Engine,
  task: Task,
  seed: number,
  { dtype = "f32", valueHead }: { dtype?: PolicyDType; valueHead: boolean },
): TokenPolicy | FlowPolicy {
  const weights = { seed: streamAt(seed, "policy")[0] };
  const { policy: shape } = task;
  if (shape.kind === "flow") {
    checkFlowDType(dtype);
    return FlowPolicy.create(engine, flowConfig(shape), weights);
  }
  if (task.alphabet === null) {
    const message =
      `Expected a folder for policy (--policy DIR): the texts of task ${show(task.id)} have no closed ` +
      `alphabet of at most ${MAX_SYMBOLS} symbols`;
    throw new FiresteelError("ERR_OPTION", message);
  }
  const tokenizer = new CharTokenizer(task.alphabet);
  const config = { ...tinyConfig(tokenizer.vocabularySize, shape), dtype, valueHead };
  return TokenPolicy.create(engine, config, { tokenizer, ...weights });
}
