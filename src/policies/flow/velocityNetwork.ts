import type { Question } from "../../contract/index.js";
import { checkInteger, invalid, show } from "../../engine/checks.js";
import type { Engine } from "../../engine/engine.js";
import { Linear } from "../../nn/modules/linear.js";
import type { ParameterSource } from "../../nn/modules/module.js";
import type { Parameter } from "../../nn/parameter.js";
import type { Tape, Var } from "../../nn/tape.js";
import type { FlowConfig } from "./config.js";

/** t and two turns of it, as sine and cosine. */
const timeFeatures = 5;

/**
 * The velocity d state / d sigma at a state, a time and a condition: linear layers with SiLU between
 * them, over [state, t, sin and cos of pi t and 2 pi t, condition].
 */
export class VelocityNetwork {
  readonly engine: Engine;
  readonly config: FlowConfig;
  /** Numbers that go into the network. */
  readonly inputs: number;
  readonly #layers: readonly Linear[];

  constructor(engine: Engine, config: FlowConfig, source: ParameterSource) {
    this.engine = engine;
    this.config = config;
    const sizes = layerSizes(config);
    this.inputs = sizes[0]!;
    this.#layers = sizes.slice(1).map((outputs, i) => {
      const name = i + 1 < sizes.length - 1 ? `layers.${i}` : "output";
      return new Linear(source, { name, inputs: sizes[i]!, outputs, bias: true });
    });
  }

  get parameters(): readonly Parameter[] {
    return this.#layers.flatMap((layer) => layer.parameters);
  }

  /** f32 [N, inputs] to velocities [N, width]. */
  forward(tape: Tape, inputs: Var): Var {
    return this.#layers.reduce((x, layer, i) => {
      return layer.forward(tape, i === 0 ? x : tape.silu(x));
    }, inputs);
  }

  /** One row of the network's input, into `out` at row `at`. The same call serves all uses: same bits. */
  writeInput(
    out: Float32Array,
    at: number,
    state: Float32Array,
    sigma: number,
    condition: Float32Array,
  ): void {
    const { width } = this.config;
    const begin = at * this.inputs;
    out.set(state, begin);
    const angle = Math.PI * sigma;
    const time = begin + width;
    out[time] = sigma;
    out[time + 1] = Math.sin(angle);
    out[time + 2] = Math.cos(angle);
    out[time + 3] = Math.sin(2 * angle);
    out[time + 4] = Math.cos(2 * angle);
    out.set(condition, time + timeFeatures);
  }

  /**
   * What a question asks for: its column `condition`, an integer for one of `conditionWidth` classes or
   * an array of as many features.
   *
   * @throws FiresteelError ERR_OPTION, ERR_RANGE
   */
  conditionOf({ id, columns }: Question): Float32Array {
    const { conditionWidth } = this.config;
    const { condition } = columns;
    const out = new Float32Array(conditionWidth);
    if (Number.isInteger(condition) && (condition as number) in out) {
      out[condition as number] = 1;
      return out;
    }
    const name = `column "condition" of question ${show(id)}`;
    if (typeof condition === "number") checkInteger(name, condition, 0, conditionWidth - 1);
    const features = condition instanceof Float32Array || Array.isArray(condition);
    if (!features || condition.length !== conditionWidth) {
      const expected = `an integer below ${conditionWidth} or an array of ${conditionWidth} numbers`;
      throw invalid("ERR_OPTION", name, expected, condition);
    }
    const wrong = condition.findIndex((value) => !Number.isFinite(value));
    if (wrong !== -1)
      throw invalid("ERR_RANGE", `${name} at ${wrong}`, "a number", condition[wrong]);
    out.set(condition);
    return out;
  }
}

function layerSizes({ width, conditionWidth, hiddenSize, numLayers }: FlowConfig): number[] {
  const hidden = new Array<number>(numLayers).fill(hiddenSize);
  return [width + timeFeatures + conditionWidth, ...hidden, width];
}
