import type { LossBatch, LossTerm } from "../../contract/loss.js";
import { aNumber, checkArguments } from "../../engine/arguments.js";
import { engineOf, tensorOf } from "../../engine/device.js";
import { number, orNull } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { actionColumn } from "./surrogateRows.js";

/**
 * The clipped value loss of one action: max((V - R)^2, (clip(V, V_old -+ epsilon) - R)^2) / 2 (PPO,
 * Schulman et al. 2017, as in its released code). Where the clipped arm is the greater, the
 * gradient is 0.
 *
 * @param value V under the current weights
 * @param oldValue V when the step started
 * @param target the return
 * @param epsilon > 0, default 0.2; Infinity: (V - R)^2 / 2
 */
export function clippedValueLoss(
  value: number,
  oldValue: number,
  target: number,
  epsilon = 0.2,
): { loss: number; gradient: number } {
  checkArguments(
    { value, oldValue, target, epsilon },
    { value: aNumber, oldValue: aNumber, target: aNumber, epsilon: aNumber },
  );
  const clipped = Math.min(Math.max(value, oldValue - epsilon), oldValue + epsilon);
  const [plain, held] = [(value - target) ** 2, (clipped - target) ** 2];
  return held > plain
    ? { loss: held / 2, gradient: 0 }
    : { loss: plain / 2, gradient: value - target };
}

const shape = {
  coefficient: number(0.5, { min: 0 }, "factor of the loss beside the policy's"),
  epsilon: orNull(
    number,
    0.2,
    { above: 0 },
    "how far V may move from the old V; null: not clipped",
  ),
};

/**
 * Mean over the trained actions of the clipped value loss, times a coefficient. Reads the columns "return"
 * and "value" (V when the step started), as `generalizedAdvantage` writes them, and the values with a
 * gradient. Reports `value_loss` without the coefficient, and `value_clip_ratio`, the share of actions
 * whose clipped arm is the greater.
 *
 * The arithmetic is the host's: one number an action, beside a forward pass that waits for it.
 */
export function clippedValue(
  options: { coefficient?: number; epsilon?: number | null } = {},
): LossTerm {
  const { values, described } = parseOptions("clippedValue", shape, options);
  const epsilon = values.epsilon ?? Number.POSITIVE_INFINITY;
  return {
    block: "clippedValue",
    options: described,
    coupling: "token",
    models: [],
    entropy: false,
    value: true,
    columns: ["return", "value"],
    evaluate(batch) {
      const engine = engineOf(batch.engine);
      const { sum, clipped, trained, gradient } = valueLosses(batch, epsilon);
      const scale = values.coefficient / Math.max(1, batch.scale.trainedTokens);
      return {
        loss: engine.tensor(Float64Array.of(scale * sum)),
        dLogProb: null,
        dEntropy: null,
        dValue: engine.tensor(Float32Array.from(gradient, (d) => scale * d)),
        metrics: engine.tensor(Float64Array.of(sum, clipped, trained)),
        decode: ([loss, clips, count]) => ({
          value_loss: { kind: "mean", sum: loss!, count: count! },
          value_clip_ratio: { kind: "mean", sum: clips!, count: count! },
        }),
      };
    },
  };
}

/** Sums over the trained actions, and d loss / d V of each action, 0 where it is not trained. */
function valueLosses({ rows, mask, value }: LossBatch, epsilon: number) {
  const now = tensorOf(value!, "value").readSync();
  const [old, target] = [actionColumn(rows, "value"), actionColumn(rows, "return")];
  const gradient = new Float64Array(mask.length);
  let [sum, clipped, trained] = [0, 0, 0];
  for (let t = 0; t < mask.length; ++t) {
    if (mask[t] === 0) continue;
    const own = clippedValueLoss(now[t]!, old[t]!, target[t]!, epsilon);
    gradient[t] = own.gradient;
    sum += own.loss;
    // The clipped arm holds V still; so does V where it meets the return.
    if (own.gradient === 0 && now[t] !== target[t]) ++clipped;
    ++trained;
  }
  return { sum, clipped, trained, gradient };
}
