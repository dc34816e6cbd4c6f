import type { LossBatch, LossTerm } from "../../contract/loss.js";
import { engineOf, tensorOf } from "../../engine/device.js";
import type { Engine } from "../../engine/engine.js";
import { divergence, divergenceBackward } from "../../engine/kernels/divergence.js";
import {
  type DivergenceOptions,
  type DivergenceTeacher,
  kindNames,
  supportNames,
} from "../../engine/kernels/divergenceOptions.js";
import {
  checkCombination,
  type DivergenceKind,
  type DivergenceSupport,
  inapplicable,
  logProbSupports,
} from "../../engine/kernels/divergenceTable.js";
import { choice, flag, integer, number, orNull } from "../../options/option.js";
import { parseOptions } from "../../options/parseOptions.js";
import { topTokens } from "./topTokens.js";

const shape = {
  kind: choice(
    "forward",
    kindNames,
    "forward: KL(teacher || policy), reverse: KL(policy || teacher)",
  ),
  weight: number(0.5, { min: 0, max: 1 }, "mixed: the forward KL's share; jsd: the teacher's"),
  topK: orNull(
    integer,
    null,
    { min: 1 },
    "how many of the teacher's most probable tokens; null: the whole vocabulary",
  ),
  support: choice(
    "truncated",
    supportNames.filter((name) => name !== "full"),
    "over which outcomes, beside the top tokens",
  ),
  logFloor: number(-100, { below: 0 }, "floor: the teacher's log-prob of all other tokens"),
  nonNegative: flag(false, "a divergence below 0 counts as 0, without a gradient"),
};

/** Which divergence, over which outcomes. */
export interface DistillationOptions {
  /** "forward" (default): KL(teacher || policy); "reverse": KL(policy || teacher); "mixed"; "jsd". */
  kind?: DivergenceKind;
  /** mixed: the forward KL's share; jsd: the teacher's; in [0, 1], default 0.5. */
  weight?: number;
  /** How many of the teacher's most probable tokens; default null: the whole vocabulary. */
  topK?: number | null;
  /** With `topK`: over which outcomes beside the top tokens; default "truncated". */
  support?: Exclude<DivergenceSupport, "full">;
  /** support "floor": the teacher's log-prob of all other tokens; < 0, default -100. */
  logFloor?: number;
  /** A divergence below 0 counts as 0, without a gradient; default false. */
  nonNegative?: boolean;
}

interface Values {
  kind: DivergenceKind;
  topK: number | null;
  support: DivergenceSupport;
  weight: number;
  logFloor: number;
  nonNegative: boolean;
}

const supportOf = ({ topK, support }: Pick<Values, "topK" | "support">): DivergenceSupport =>
  topK === null ? "full" : support;

/** The kernel's options that have a meaning here. */
function kernelOptions(o: Values, { mask, temperature }: LossBatch): DivergenceOptions {
  const support = supportOf(o);
  const choices = { kind: o.kind, support };
  const own = (["weight", "logFloor", "nonNegative"] as const).filter(
    (name) => inapplicable[name](choices) === null,
  );
  return {
    kind: o.kind,
    temperature,
    mask,
    ...(support === "full" ? {} : { support }),
    ...Object.fromEntries(own.map((name) => [name, o[name]])),
  };
}

function teacherOf(engine: Engine, o: Values, { modelLogits, mask, temperature }: LossBatch) {
  const logits = tensorOf(modelLogits.teacher!, "modelLogits.teacher");
  if (o.topK === null) return { logits } satisfies DivergenceTeacher;
  const vocabulary = logits.shape[1]!;
  const k = Math.min(o.topK, vocabulary);
  const scale = logProbSupports.includes(o.support) ? temperature : null;
  const host = logits.readSync() as Float32Array;
  const { values, ids } = topTokens(host, vocabulary, mask, k, scale);
  const size = [mask.length, k];
  return {
    topLogits: engine.tensor(values, size),
    topIds: engine.tensor(ids, size),
  } satisfies DivergenceTeacher;
}

/**
 * Distillation with the gradient into the logits: the mean over the trained actions of a divergence between
 * the policy and the model "teacher", both at the run's temperature (GKD, Agarwal et al. 2024; forward KL on
 * the teacher's top tokens as in verl). Reports it as `teacher/divergence`.
 *
 * The teacher's logits are made for one micro-batch at a time; of these `topK` picks on the host.
 *
 * @throws FiresteelError ERR_OPTION
 * @example
 * distillation({ kind: "jsd", weight: 0.5, topK: null });
 */
export function distillation(options: DistillationOptions = {}): LossTerm {
  const choicesOf = (o: Values) => ({ kind: o.kind, support: supportOf(o) });
  const { values, described } = parseOptions("distillation", shape, options, {
    inapplicable: {
      support: (o) => (o.topK === null ? "topK is null" : null),
      weight: (o) => inapplicable.weight(choicesOf(o)),
      logFloor: (o) => inapplicable.logFloor(choicesOf(o)),
      nonNegative: (o) => inapplicable.nonNegative(choicesOf(o)),
    },
    contradicts: {
      weight: ({ kind, weight }) =>
        kind === "jsd" && !(weight >= 0.001 && weight <= 0.999)
          ? "a number >= 0.001 and <= 0.999"
          : null,
    },
  });
  checkCombination(choicesOf(values));
  return {
    block: "distillation",
    options: described,
    coupling: "token",
    models: [],
    entropy: false,
    logits: true,
    modelLogits: ["teacher"],
    columns: [],
    evaluate(batch) {
      const engine = engineOf(batch.engine);
      const student = tensorOf(batch.logits!, "logits");
      const teacher = teacherOf(engine, values, batch);
      const how = kernelOptions(values, batch);
      const { divergence: each, stats } = divergence(engine, student, teacher, how);
      const weight = 1 / Math.max(1, batch.scale.trainedTokens);
      const dDivergence = Float32Array.from(batch.mask, (trained) => (trained === 0 ? 0 : weight));
      const dLogits = divergenceBackward(engine, { student, teacher, stats, dDivergence, ...how });
      const [sum, count] = trainedSum(each.readSync(), batch.mask);
      return {
        loss: engine.tensor(Float64Array.of(weight * sum)),
        dLogProb: null,
        dEntropy: null,
        dLogits,
        metrics: engine.tensor(Float64Array.of(sum, count)),
        decode: ([total, trained]) => ({
          "teacher/divergence": { kind: "mean", sum: total!, count: trained! },
        }),
      };
    },
  };
}

function trainedSum(values: ArrayLike<number>, mask: Uint8Array): [sum: number, count: number] {
  let [sum, count] = [0, 0];
  for (let t = 0; t < mask.length; ++t) {
    if (mask[t] === 0) continue;
    sum += values[t]!;
    ++count;
  }
  return [sum, count];
}
