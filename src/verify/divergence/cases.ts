import type { Engine } from "../../engine/engine.js";
import { divergence, divergenceBackward } from "../../engine/kernels/divergence.js";
import type {
  DivergenceOptions,
  DivergenceTeacher,
} from "../../engine/kernels/divergenceOptions.js";
import {
  type DivergenceKind,
  type DivergenceSupport,
  divergenceTable,
  inapplicable,
  logProbSupports,
} from "../../engine/kernels/divergenceTable.js";
import type { Tensor } from "../../engine/tensor.js";
import {
  type DivergenceResult,
  type DivergenceRow,
  type DivergenceSetting,
  divergence as reference,
} from "../../reference/divergence.js";
import { type Float, logitRows, Random, type Typed, typed } from "../inputs.js";

/** One call, its inputs as the kernel sees them and as numbers. */
export interface DivergenceCase {
  studentDtype: Float;
  teacherDtype: Float;
  vocab: number;
  /** [T, V] */
  student: Typed;
  /** [T, V], or [T, K] beside ids [T, K] */
  teacher: Typed;
  ids: Int32Array | null;
  topK: number;
  mask: Uint8Array | null;
  /** Gradient that comes from above, [T]. */
  dDivergence: Float32Array;
  setting: DivergenceSetting;
}

export interface CaseOptions {
  kind: DivergenceKind;
  support: DivergenceSupport;
  studentDtype?: Float;
  teacherDtype?: Float;
  tokens: number;
  vocab: number;
  /** Default 7, or the vocabulary where that is less. */
  topK?: number;
  weight?: number;
  temperature?: number;
  teacherTemperature?: number;
  nonNegative?: boolean;
  logFloor?: number;
  masked?: boolean;
  /** Added to every logit of a side. */
  shift?: number;
  teacherShift?: number;
  /** Of all logits. */
  spread?: number;
  /** How far the teacher's logits are from the student's: 0 makes them equal; default 1.5. */
  apart?: number;
  seed?: number;
}

export function makeCase(options: CaseOptions): DivergenceCase {
  const { kind, support, studentDtype = "f32", teacherDtype = "f32", tokens, vocab } = options;
  const { shift = 0, teacherShift = 0, spread = 1, apart = 1.5, temperature = 1 } = options;
  const random = new Random(options.seed ?? 1);
  const near = logitRows(random, tokens, vocab).map((z) => spread * z);
  const student = typed(
    near.map((z) => z + shift),
    studentDtype,
  );
  const far = near.map((z) => z + apart * random.normal() + teacherShift);
  const topK = support === "full" ? 0 : Math.min(options.topK ?? 7, vocab);
  const top = support === "full" ? null : topValues(random, far, vocab, topK, support);
  const teacherTemperature = logProbSupports.includes(support)
    ? 1
    : (options.teacherTemperature ?? temperature);
  return {
    studentDtype,
    teacherDtype,
    vocab,
    student,
    teacher: typed(top?.values ?? far, teacherDtype),
    ids: top?.ids ?? null,
    topK,
    mask: options.masked ? random.mask(tokens) : null,
    dDivergence: random.normals(tokens),
    setting: {
      kind,
      support,
      weight: options.weight ?? 0.5,
      temperature,
      teacherTemperature,
      logFloor: options.logFloor ?? -100,
      nonNegative: options.nonNegative ?? false,
    },
  };
}

/** The teacher's most likely tokens of every row, in no order: logits, or log-probs where asked for. */
function topValues(
  random: Random,
  logits: Float64Array,
  vocab: number,
  topK: number,
  support: DivergenceSupport,
): { ids: Int32Array; values: Float64Array } {
  const tokens = logits.length / vocab;
  const ids = new Int32Array(tokens * topK);
  const values = new Float64Array(tokens * topK);
  for (let t = 0; t < tokens; ++t) {
    const row = logits.subarray(t * vocab, (t + 1) * vocab);
    const best = Array.from(row, (_, v) => v).sort((a, b) => row[b]! - row[a]!);
    const logSum = Math.log(row.reduce((sum, z) => sum + Math.exp(z - row[best[0]!]!), 0));
    for (const [j, at] of random.permutation(topK).entries()) {
      const v = best[at]!;
      ids[t * topK + j] = v;
      const logProb = row[v]! - row[best[0]!]! - logSum;
      values[t * topK + j] = logProbSupports.includes(support) ? logProb : row[v]!;
    }
  }
  return { ids, values };
}

/** The options of a call: only those that apply. */
export function optionsOf(c: DivergenceCase): DivergenceOptions {
  const { kind, support, temperature, ...rest } = c.setting;
  const options: DivergenceOptions = { kind, temperature, mask: c.mask };
  if (support !== "full") options.support = support;
  for (const [name, reasonAgainst] of Object.entries(inapplicable)) {
    const key = name as keyof typeof inapplicable;
    if (reasonAgainst({ kind, support }) === null) Object.assign(options, { [key]: rest[key] });
  }
  return options;
}

export function upload(engine: Engine, c: DivergenceCase) {
  const tokens = c.dDivergence.length;
  const width = c.ids === null ? c.vocab : c.topK;
  const values = engine.tensor(c.teacher.data, [tokens, width], c.teacherDtype);
  const teacher: DivergenceTeacher =
    c.ids === null
      ? { logits: values }
      : { topLogits: values, topIds: engine.tensor(c.ids, [tokens, width]) };
  return { student: engine.tensor(c.student.data, [tokens, c.vocab], c.studentDtype), teacher };
}

/** Forward and backward. */
export function call(
  engine: Engine,
  c: DivergenceCase,
  inPlace = false,
): { divergence: Tensor; stats: Tensor; gradient: Tensor } {
  const { student, teacher } = upload(engine, c);
  const options = optionsOf(c);
  const forward = divergence(engine, student, teacher, options);
  const gradient = divergenceBackward(engine, {
    student,
    teacher,
    stats: forward.stats,
    dDivergence: c.dDivergence,
    ...(inPlace ? { out: student } : {}),
    ...options,
  });
  return { ...forward, gradient };
}

export function rowOf(c: DivergenceCase, t: number): DivergenceRow {
  const width = c.ids === null ? c.vocab : c.topK;
  return {
    student: c.student.numbers.subarray(t * c.vocab, (t + 1) * c.vocab),
    teacher: c.teacher.numbers.subarray(t * width, (t + 1) * width),
    ids: c.ids === null ? null : c.ids.subarray(t * width, (t + 1) * width),
  };
}

export function wanted(c: DivergenceCase): DivergenceResult[] {
  return Array.from(c.dDivergence, (_, t) =>
    c.mask?.[t] === 0
      ? { divergence: 0, gradient: new Float64Array(c.vocab) }
      : reference(rowOf(c, t), c.setting),
  );
}

/** Every kind with every support that it goes with. */
export const combinations = divergenceTable.combinations
  .filter(({ refusal }) => refusal === null)
  .map(({ choices }) => choices as unknown as { kind: DivergenceKind; support: DivergenceSupport });
