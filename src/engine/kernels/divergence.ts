import {
  checkBoolean,
  checkChoice,
  checkInteger,
  checkKeys,
  checkNumber,
  invalid,
} from "../checks.js";
import { dtypes } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Inputs, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";
import {
  checkCombination,
  type DivergenceKind,
  type DivergenceSupport,
  inapplicable,
  kinds,
  logProbSupports,
  supports,
} from "./divergenceTable.js";
import { checkTemperature, MAX_VOCAB } from "./logProb.js";

const floats = ["f32", "bf16", "f16"] as const;
const kindNames = Object.keys(kinds) as DivergenceKind[];
const supportNames = Object.keys(supports) as DivergenceSupport[];

/**
 * What the student is compared with, f32, bf16 or f16, whatever the student's dtype: logits over the
 * whole vocabulary [T, V] (log-probs are logits too), or values [T, K] at K tokens of each row with
 * their ids, i32 [T, K], in any order and different within a row.
 */
export type DivergenceTeacher =
  | { logits: TensorLike; topLogits?: undefined; topIds?: undefined }
  | { topLogits: TensorLike; topIds: TensorLike; logits?: undefined };

export interface DivergenceOptions {
  /** With student p and teacher q: "forward" is KL(q || p), "reverse" KL(p || q). */
  kind: DivergenceKind;
  /**
   * "mixed": the forward KL's share, in [0, 1], default 0.5 (SD-Zero). "jsd": TRL's beta, the
   * teacher's share of the mixture, in [0.001, 0.999], default 0.5. Towards 0 the jsd becomes weight
   * times "forward", towards 1 (1 - weight) times "reverse", which TRL puts in at 0 and 1.
   */
  weight?: number;
  /** Divides the student's logits; > 0, default 1. */
  temperature?: number;
  /** Divides the teacher's; default `temperature`. Not where its values are log-probs. */
  teacherTemperature?: number;
  /** u8 [T]: rows with 0 are not read, their divergence and gradient are 0. */
  mask?: TensorLike | null;
  /**
   * For `topLogits`: over which outcomes.
   *
   * - "renormalized": the K tokens, p and q both normalised on them.
   * - "tail": the K tokens and one outcome with the rest, whose mass is 1 minus the others' on either
   *   side, at least 1e-7. `topLogits` are the teacher's log-probs over the vocabulary; where rounding
   *   lets those sum to more than 1, a KL may come out that much below 0.
   * - "truncated": the K tokens alone, p and q normalised over the vocabulary. `topLogits` as above.
   * - "floor": the vocabulary, q normalised on the K tokens and exp(logFloor) at all others.
   */
  support?: Exclude<DivergenceSupport, "full">;
  /** For "floor": the teacher's log-prob outside of the K tokens; < 0, default -100 (SD-Zero). */
  logFloor?: number;
  /** For "forward" over "truncated", which can be below 0: then 0, with gradient 0 (verl). Default false. */
  nonNegative?: boolean;
}

export interface DivergenceResult {
  /** f32 [T], in nats. To be averaged by the caller: its weights are backward's `dDivergence`. */
  divergence: Tensor;
  /** f32 [T, 5], or [T, 5 + K]: what the backward pass needs. */
  stats: Tensor;
}

/**
 * Distillation loss of each row, between softmax(student / temperature) and a teacher.
 *
 * A row's result depends on its own values, V and K alone. Values are >= 0 and accurate where p and q
 * are nearly equal: a divergence of 1e-8 is no rounding noise. Logits of -inf are probability 0. A row
 * whose divergence is infinite (the teacher has mass where the student has none, or the other way
 * round, by kind) is +inf, has gradient 0 and is reported as "no-support" (Engine's `onFault`). NaN,
 * +inf, a side of nothing but -inf, and a top id outside of [0, V) or twice in a row give NaN and
 * gradient 0, and are reported.
 *
 * @param student [T, V] f32, bf16 or f16; V at most 2^20
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_RANGE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 * @example
 * const options = { kind: "mixed", support: "renormalized", mask } as const; // SD-Zero
 * const teacher = { topLogits, topIds };
 * const { divergence: loss, stats } = divergence(engine, student, teacher, options);
 * divergenceBackward(engine, { student, teacher, stats, dDivergence, out: student, ...options });
 */
export function divergence(
  engine: Engine,
  student: TensorLike,
  teacher: DivergenceTeacher,
  options: DivergenceOptions,
): DivergenceResult {
  checkKeys("options", options, optionNames);
  const rule = checkRule(teacher, options);
  return withInputs(engine, (inputs) => {
    const call = checkInputs(inputs, student, teacher, rule);
    const mask = inputs.optional("mask", options.mask, "u8", [call.tokens]);
    const out = {
      divergence: engine.empty([call.tokens]),
      stats: engine.empty([call.tokens, engine.addon.divergenceStats + call.topK]),
    };
    engine.addon.divergenceForward(
      engine.handle,
      ...common(call, rule),
      handle(call.teacher),
      handle(call.topIds),
      handle(mask),
      handle(out.divergence),
      handle(out.stats),
    );
    return out;
  });
}

/** The arguments and options of the forward call, and: */
export interface DivergenceBackwardInputs extends DivergenceOptions {
  student: TensorLike;
  teacher: DivergenceTeacher;
  /** f32 [T, 5] or [T, 5 + K] of the forward call. */
  stats: Tensor;
  /** f32 [T]: gradient with respect to the divergences. */
  dDivergence: TensorLike;
  /** Written instead of a new tensor; may be `student`. */
  out?: Tensor;
}

/**
 * Gradient with respect to the student's logits, in their dtype, rounded once. Masked and faulty rows
 * get exact zeros. Of a teacher's top values only the ids are read again: `stats` holds the rest.
 *
 * @returns [T, V]: `out`, or a new tensor
 * @throws FiresteelError as `divergence`
 */
export function divergenceBackward(engine: Engine, args: DivergenceBackwardInputs): Tensor {
  checkKeys("the argument", args, [
    "student",
    "teacher",
    "stats",
    "dDivergence",
    "out",
    ...optionNames,
  ]);
  const rule = checkRule(args.teacher, args);
  return withInputs(engine, (inputs) => {
    const call = checkInputs(inputs, args.student, args.teacher, rule);
    const { tokens, topK } = call;
    const mask = inputs.optional("mask", args.mask, "u8", [tokens]);
    const width = engine.addon.divergenceStats + topK;
    const stats = inputs.tensor("stats", args.stats, "f32", [tokens, width]);
    const dDivergence = inputs.tensor("dDivergence", args.dDivergence, "f32", [tokens]);
    const { shape, dtype } = call.student;
    const out =
      args.out === undefined
        ? engine.empty(shape, dtype)
        : inputs.tensor("out", args.out, dtype, shape);
    engine.addon.divergenceBackward(
      engine.handle,
      ...common(call, rule),
      handle(call.topIds ?? call.teacher),
      handle(mask),
      handle(stats),
      handle(dDivergence),
      handle(out),
    );
    return out;
  });
}

const optionNames = [
  "kind",
  "weight",
  "temperature",
  "teacherTemperature",
  "mask",
  "support",
  "logFloor",
  "nonNegative",
];

interface Rule {
  kind: DivergenceKind;
  support: DivergenceSupport;
  weight: number;
  logFloor: number;
  nonNegative: boolean;
  temperature: number;
  teacherTemperature: number;
}

function checkRule(teacher: DivergenceTeacher, options: DivergenceOptions): Rule {
  checkKeys("teacher", teacher, ["logits", "topLogits", "topIds"]);
  const kind = checkChoice("kind", options.kind, kindNames);
  const support = checkSupport(teacher, options.support);
  const choices = { kind, support };
  checkCombination(choices);
  for (const [name, reasonAgainst] of Object.entries(inapplicable)) {
    const value = options[name as keyof typeof inapplicable];
    const reason = reasonAgainst(choices);
    if (value !== undefined && reason !== null) {
      throw invalid("ERR_OPTION", name, `nothing (${reason})`, value);
    }
  }
  const [least, most] = kind === "jsd" ? [0.001, 0.999] : [0, 1];
  const temperature = checkTemperature(options.temperature);
  return {
    ...choices,
    weight: checkNumber("weight", options.weight ?? 0.5, least, most),
    logFloor: checkNumber("logFloor", options.logFloor ?? -100, -1e30, -Number.MIN_VALUE),
    nonNegative: checkBoolean("nonNegative", options.nonNegative ?? false),
    temperature,
    teacherTemperature: logProbSupports.includes(support)
      ? 1
      : checkNumber("teacherTemperature", options.teacherTemperature ?? temperature, 1e-30, 1e30),
  };
}

function checkSupport(teacher: DivergenceTeacher, support: unknown): DivergenceSupport {
  const top = teacher.topLogits !== undefined && teacher.topIds !== undefined;
  if (top === (teacher.logits !== undefined)) {
    throw invalid("ERR_OPTION", "teacher", "either logits or topLogits with topIds", teacher);
  }
  if (!top) {
    if (support === undefined) return "full";
    throw invalid("ERR_OPTION", "support", "nothing (the teacher has logits for all)", support);
  }
  return checkChoice("support", support, supportNames.slice(1));
}

interface CallInputs {
  tokens: number;
  vocab: number;
  topK: number;
  student: Tensor;
  teacher: Tensor;
  topIds: Tensor | null;
}

function checkInputs(
  inputs: Inputs,
  student: TensorLike,
  teacher: DivergenceTeacher,
  { support }: Rule,
): CallInputs {
  const z = inputs.tensor("student", student, floats, [null, null]);
  const [tokens, vocab] = z.shape as [number, number];
  checkInteger("student.shape[1] (vocabulary)", vocab, 1, MAX_VOCAB);
  const shared = { tokens, vocab, student: z };
  if (support === "full") {
    const logits = inputs.tensor("teacher.logits", teacher.logits!, floats, [tokens, vocab]);
    return { ...shared, topK: 0, teacher: logits, topIds: null };
  }
  const top = inputs.tensor("teacher.topLogits", teacher.topLogits!, floats, [tokens, null]);
  const topK = checkInteger("teacher.topLogits.shape[1] (K)", top.shape[1], 1, vocab);
  const topIds = inputs.tensor("teacher.topIds", teacher.topIds!, "i32", [tokens, topK]);
  return { ...shared, topK, teacher: top, topIds };
}

/** What both native calls begin with (native/addon/divergence.cc). */
function common(call: CallInputs, rule: Rule) {
  return [
    call.tokens,
    call.vocab,
    call.topK,
    kindNames.indexOf(rule.kind),
    supportNames.indexOf(rule.support),
    rule.weight,
    rule.logFloor,
    rule.nonNegative,
    1 / rule.temperature,
    1 / rule.teacherTemperature,
    dtypes[call.student.dtype].code,
    dtypes[call.teacher.dtype].code,
    handle(call.student),
  ] as const;
}
