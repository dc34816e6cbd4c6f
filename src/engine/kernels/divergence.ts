import { checkInteger, checkKeys } from "../checks.js";
import { dtypes } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Inputs, type Out, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";
import {
  checkRule,
  type DivergenceOptions,
  type DivergenceTeacher,
  kindNames,
  optionNames,
  type Rule,
  supportNames,
} from "./divergenceOptions.js";
import { MAX_VOCAB } from "./logProb.js";

const floats = ["f32", "bf16", "f16"] as const;

/** Choices of `divergence`, and where its results go. */
export interface DivergenceForwardOptions extends DivergenceOptions {
  /** Where results are written, all or some of them; default: new tensors. */
  out?: Out<DivergenceResult>;
}

/** What `divergence` makes. */
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
  options: DivergenceForwardOptions,
): DivergenceResult {
  checkKeys("options", options, [...optionNames, "out"]);
  const rule = checkRule(teacher, options);
  return withInputs(engine, (inputs) => {
    const call = checkInputs(inputs, student, teacher, rule);
    const mask = inputs.optional("mask", options.mask, "u8", [call.tokens]);
    const width = engine.addon.divergenceStats + call.topK;
    const out = inputs.results(options.out, {
      divergence: ["f32", [call.tokens]],
      stats: ["f32", [call.tokens, width]],
    });
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
    const out = inputs.result("out", args.out, dtype, shape, [call.student]);
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
