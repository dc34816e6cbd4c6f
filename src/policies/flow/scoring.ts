import type {
  DifferentiableScores,
  PolicyRow,
  ScoreGradient,
  ScoringOptions,
} from "../../contract/index.js";
import { checkBoolean, checkKeys, invalid } from "../../engine/checks.js";
import { FiresteelError } from "../../engine/error.js";
import { type FlowActions, flowStepNoise } from "../../engine/kernels/flowActions.js";
import { offsetsOf } from "../../engine/ragged.js";
import type { Tensor } from "../../engine/tensor.js";
import { Tape, type Var } from "../../nn/tape.js";
import { seedsOf } from "../scoreGradient.js";
import { checkTemperature } from "./course.js";
import type { VelocityNetwork } from "./velocityNetwork.js";

/** Scores with the tape that they stand on. */
export interface TapedFlowScores {
  readonly tape: Tape;
  readonly rowOffsets: Int32Array;
  readonly logProb: Var;
  readonly mean: Var | null;
}

/** A step that goes through the network: of which row, and its place among all actions. */
interface ScoredStep {
  readonly row: number;
  readonly of: FlowActions;
  readonly step: number;
  readonly action: number;
}

/**
 * Log-probs of the steps of rows under the network, and their means. Steps with mask 0 and steps without
 * noise do not go through it: their log-probs and means are 0.
 *
 * @throws FiresteelError ERR_SHAPE, ERR_RANGE, ERR_OPTION, ERR_OUT_OF_MEMORY
 */
export function scoreSteps(
  network: VelocityNetwork,
  rows: readonly PolicyRow[],
  options: ScoringOptions,
  grad: boolean,
): TapedFlowScores {
  checkKeys("options", options, ["temperature", "entropy", "value", "logits", "mean"]);
  for (const name of ["value", "logits"] as const) {
    if (options[name]) throw invalid("ERR_OPTION", name, "false (a flow policy has none)", true);
  }
  checkTemperature(options.temperature ?? 1);
  const wantsMean = checkBoolean("mean", options.mean ?? false);
  const { engine } = network;
  const all = rows.map((row, r) => flowActions(row, r, network.config.width));
  const rowOffsets = offsetsOf(all.map(({ length }) => length));
  const steps = scoredSteps(rows, all, rowOffsets);
  return engine.attempt(() => {
    const tape = new Tape(engine, { grad });
    const { v, x, next, how } = velocities(network, tape, rows, steps);
    const packed = tape.flowStep(v, { x, next, ...how.schedule }, how.noise);
    const actions = rowOffsets.at(-1)!;
    if (steps.length === actions) {
      return { tape, rowOffsets, logProb: packed.logProb, mean: wantsMean ? packed.mean : null };
    }
    const places = tape.own(engine.tensor(Int32Array.from(steps, ({ action }) => action)));
    const logProb = tape.spread(packed.logProb, places, actions);
    const mean = wantsMean ? tape.spread(packed.mean, places, actions) : null;
    return { tape, rowOffsets, logProb, mean };
  });
}

function flowActions({ actions, mask }: PolicyRow, r: number, width: number): FlowActions {
  const name = `rows[${r}].actions`;
  if (actions.kind !== "flow") throw invalid("ERR_OPTION", name, "flow steps", actions.kind);
  const { length, states, sigmas, noiseLevels } = actions;
  if (actions.width !== width) {
    throw invalid("ERR_SHAPE", `the width of ${name}`, String(width), actions.width);
  }
  const sizes = { states: (length + 1) * width, sigmas: length + 1, noiseLevels: length };
  for (const [key, size] of Object.entries(sizes)) {
    const { length: found } = { states, sigmas, noiseLevels }[key as keyof typeof sizes];
    if (found !== size) throw invalid("ERR_SHAPE", `${name}.${key}`, `${size} values`, found);
  }
  if (mask !== undefined && mask.length !== length) {
    throw invalid("ERR_SHAPE", `rows[${r}].mask`, `one value per step (${length})`, mask);
  }
  return actions;
}

function scoredSteps(
  rows: readonly PolicyRow[],
  all: readonly FlowActions[],
  rowOffsets: Int32Array,
): ScoredStep[] {
  const steps: ScoredStep[] = [];
  for (const [row, of] of all.entries()) {
    for (let step = 0; step < of.length; ++step) {
      if (rows[row]!.mask?.[step] === 0 || of.noiseLevels[step] === 0) continue;
      steps.push({ row, of, step, action: rowOffsets[row]! + step });
    }
  }
  const kinds = [...new Set(steps.map(({ of }) => of.noise))];
  if (kinds.length > 1) throw invalid("ERR_OPTION", "the noise of rows", "one kind", kinds);
  return steps;
}

function velocities(
  network: VelocityNetwork,
  tape: Tape,
  rows: readonly PolicyRow[],
  steps: readonly ScoredStep[],
) {
  const { engine, config } = network;
  const { width } = config;
  const count = steps.length;
  const inputs = new Float32Array(count * network.inputs);
  const before = new Float32Array(count * width);
  const after = new Float32Array(count * width);
  const conditions = rows.map(({ prompt }) => network.conditionOf(prompt));
  for (const [i, { row, of, step }] of steps.entries()) {
    const begin = i * width;
    for (let d = 0; d < width; ++d) {
      before[begin + d] = of.states[step * width + d]!;
      after[begin + d] = of.states[(step + 1) * width + d]!;
    }
    const state = before.subarray(begin, begin + width);
    network.writeInput(inputs, i, state, of.sigmas[step]!, conditions[row]!);
  }
  const own = (data: Float32Array, columns: number) =>
    tape.own(engine.tensor(data, [count, columns]));
  const v = network.forward(tape, tape.constant(own(inputs, network.inputs)));
  const how = flowStepNoise(steps[0]?.of.noise ?? "sde", steps);
  return { v, x: own(before, width), next: own(after, width), how };
}

/** Scores that can be differentiated once. */
export class DifferentiableFlowScores implements DifferentiableScores {
  readonly rowOffsets: Int32Array;
  readonly logProb: Tensor;
  readonly entropy = null;
  readonly mean: Tensor | null;
  readonly #scores: TapedFlowScores;
  #ended = false;

  constructor(scores: TapedFlowScores) {
    this.#scores = scores;
    this.rowOffsets = scores.rowOffsets;
    this.logProb = scores.logProb.value;
    this.mean = scores.mean?.value ?? null;
  }

  /** @throws FiresteelError ERR_DISPOSED (a second time), ERR_SHAPE, ERR_OPTION */
  backward(gradient: ScoreGradient): void {
    if (this.#ended) {
      throw new FiresteelError("ERR_DISPOSED", "Expected scores that have not been differentiated");
    }
    const { tape } = this.#scores;
    const seeds = seedsOf(gradient, { ...this.#scores, entropy: null, value: null, logits: null });
    this.#ended = true;
    tape.engine.attempt(() => tape.backward(seeds));
  }

  dispose(): void {
    this.#ended = true;
    this.#scores.tape.dispose();
  }
}
