import type { Demonstration, PolicyRow, Prompt } from "../../contract/index.js";
import { invalid } from "../../engine/checks.js";
import { tensorOf } from "../../engine/device.js";
import type { TokenPolicy } from "./tokenPolicy.js";

/**
 * Adds the gradient of the cross entropy over the completions and their ends, mean over tokens.
 *
 * @returns the loss where `measure` asks for it, else null
 * @throws FiresteelError ERR_OPTION, ERR_RANGE
 */
export async function imitate(
  policy: TokenPolicy,
  demonstrations: readonly Demonstration<Prompt>[],
  measure: boolean,
): Promise<number | null> {
  const forward = policy.forward(demonstrations.map((one, i) => rowOf(policy, one, i)));
  const tokens = forward.rowOffsets.at(-1)!;
  let loss: number | null;
  try {
    const logProb = tensorOf(forward.logProb, "logProb");
    loss = measure ? meanLoss((await logProb.read()) as Float32Array) : null;
  } catch (error) {
    forward.dispose();
    throw error;
  }
  const gradient = policy.engine.tensor(new Float32Array(tokens).fill(-1 / tokens));
  try {
    forward.backward({ logProb: gradient });
  } finally {
    gradient.dispose();
  }
  return loss;
}

function rowOf(
  { tokenizer }: TokenPolicy,
  { question, completion }: Demonstration<Prompt>,
  i: number,
): PolicyRow {
  if (tokenizer === null) {
    throw invalid("ERR_OPTION", "the policy's tokenizer", "one to learn texts with", null);
  }
  if (completion === undefined) {
    throw invalid("ERR_OPTION", `demonstrations[${i}].completion`, "a text", completion);
  }
  const ids = Int32Array.from([...tokenizer.encode(completion), tokenizer.endOfSequence]);
  return { prompt: question, actions: { kind: "tokens", length: ids.length, ids } };
}

function meanLoss(logProb: Float32Array): number {
  return -logProb.reduce((sum, value) => sum + value, 0) / logProb.length;
}
