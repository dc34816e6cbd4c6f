import { checkBoolean, checkChoice, checkKeys, checkNumber, invalid } from "../checks.js";
import type { TensorLike } from "../engine.js";
import {
  checkCombination,
  type DivergenceKind,
  type DivergenceSupport,
  inapplicable,
  kinds,
  logProbSupports,
  supports,
} from "./divergenceTable.js";
import { checkTemperature } from "./logProb.js";

/**
 * What the student is compared with, f32, bf16 or f16, whatever the student's dtype: logits over the
 * whole vocabulary [T, V] (log-probs are logits too), or values [T, K] at K tokens of each row with
 * their ids, i32 [T, K], in any order and different within a row.
 */
export type DivergenceTeacher =
  | { logits: TensorLike; topLogits?: undefined; topIds?: undefined }
  | { topLogits: TensorLike; topIds: TensorLike; logits?: undefined };

/** Choices that `divergence` and `divergenceBackward` share; both calls take the same. */
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

/** In the order of the native numbering. */
export const kindNames = Object.keys(kinds) as DivergenceKind[];
export const supportNames = Object.keys(supports) as DivergenceSupport[];
const teacherNames = ["logits", "topLogits", "topIds"] as const;

/** Every option of DivergenceOptions. */
export const optionNames = [
  "kind",
  "weight",
  "temperature",
  "teacherTemperature",
  "mask",
  "support",
  "logFloor",
  "nonNegative",
];

/** Checked options, with their defaults. */
export interface Rule {
  kind: DivergenceKind;
  support: DivergenceSupport;
  weight: number;
  logFloor: number;
  nonNegative: boolean;
  temperature: number;
  teacherTemperature: number;
}

/** @throws FiresteelError ERR_OPTION, ERR_RANGE */
export function checkRule(teacher: DivergenceTeacher, options: DivergenceOptions): Rule {
  checkKeys("teacher", teacher, teacherNames);
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
  const given = teacherNames.filter((name) => teacher[name] !== undefined);
  const names = given.join(" ");
  if (names === "topLogits topIds") return checkChoice("support", support, supportNames.slice(1));
  if (names !== "logits") {
    throw invalid("ERR_OPTION", "teacher", "either logits or topLogits with topIds", names);
  }
  if (support === undefined) return "full";
  throw invalid("ERR_OPTION", "support", "nothing (the teacher has logits for all)", support);
}
