import type { DeviceTensor, ScoreGradient } from "../contract/index.js";
import { invalid } from "../engine/checks.js";
import { tensorOf } from "../engine/device.js";
import { overlap, type Tensor } from "../engine/tensor.js";
import type { Var } from "../nn/tape.js";

const names = ["logProb", "mean", "entropy", "value", "logits"] as const;

/**
 * Where a backward pass through scores begins.
 *
 * @param scores null: not asked for
 * @throws FiresteelError ERR_SHAPE, ERR_OPTION for the gradient of a score that was not asked for
 */
export function seedsOf(
  gradient: ScoreGradient,
  scores: Readonly<Record<(typeof names)[number], Var | null>>,
): [Var, Tensor][] {
  const seeds: [Var, Tensor][] = [];
  for (const name of names) {
    const given = gradient[name] ?? null;
    if (given === null) continue;
    const score = scores[name];
    if (score === null) {
      throw invalid("ERR_OPTION", `gradient.${name}`, `none (no ${name} was asked for)`, given);
    }
    seeds.push([score, seedOf(given, `gradient.${name}`, score)]);
  }
  return seeds;
}

/** A gradient as a tape takes it. @throws FiresteelError ERR_SHAPE */
function seedOf(tensor: DeviceTensor, name: string, { value }: Var): Tensor {
  const seed = tensorOf(tensor, name);
  if (overlap(seed, value) !== "none") {
    // The backward pass overwrites the scores before it has read all gradients.
    throw invalid("ERR_OPTION", name, "memory of its own", "that of the score");
  }
  if (seed.dtype === "f32" && seed.shape.join() === value.shape.join()) return seed;
  throw invalid("ERR_SHAPE", name, `f32 [${value.shape}]`, `${seed.dtype} [${seed.shape}]`);
}
