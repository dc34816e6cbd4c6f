export interface DivergenceSetting {
  kind: "forward" | "reverse" | "mixed" | "jsd";
  support: "full" | "renormalized" | "tail" | "truncated" | "floor";
  /** Of the forward KL ("mixed"), or of the teacher in the mixture ("jsd"). */
  weight: number;
  temperature: number;
  teacherTemperature: number;
  logFloor: number;
  nonNegative: boolean;
}

/** One row: student logits over the vocabulary, and the teacher's over it or at some of its ids. */
export interface DivergenceRow {
  student: ArrayLike<number>;
  teacher: ArrayLike<number>;
  ids: ArrayLike<number> | null;
}

/** A set of tokens with the student's mass P of it and the teacher's Q. */
export interface Outcome {
  tokens: number[];
  logP: number;
  logQ: number;
  /** exp(logQ), or 0 where logQ is only the floor. */
  q: number;
  /** P is held at its least value: nothing moves it. */
  held: boolean;
}

export interface DivergenceResult {
  divergence: number;
  /** d divergence / d student logits. */
  gradient: Float64Array;
}

const LEAST_TAIL = 1e-7;

/** Logarithms of softmax(z); NaN where it is undefined. */
function logSoftmax(z: readonly number[]): number[] {
  const max = z.reduce((top, x) => Math.max(top, x), Number.NEGATIVE_INFINITY);
  const logSum = Math.log(z.reduce((sum, x) => sum + Math.exp(x - max), 0));
  return z.map((x) => x - max - logSum);
}

/** What a support makes of a row: its outcomes, and the student's probability of every token. */
export function outcomesOf(
  row: DivergenceRow,
  setting: DivergenceSetting,
): { p: Float64Array; outcomes: Outcome[] } {
  const { support, temperature, teacherTemperature } = setting;
  const all = Array.from(row.student, (_, v) => v);
  const ids = row.ids === null ? all : Array.from(row.ids);
  const given = support === "tail" || support === "truncated";
  const teacher = Array.from(row.teacher);
  const logQ = given ? teacher : logSoftmax(teacher.map((y) => y / teacherTemperature));

  const normalized = support === "renormalized" ? ids : all;
  const logP = new Float64Array(all.length).fill(Number.NEGATIVE_INFINITY);
  for (const [i, x] of logSoftmax(normalized.map((v) => row.student[v]! / temperature)).entries()) {
    logP[normalized[i]!] = x;
  }
  const p = logP.map(Math.exp);

  const single = (v: number, logTeacher: number, q: number): Outcome => {
    return { tokens: [v], logP: logP[v]!, logQ: logTeacher, q, held: false };
  };
  const outcomes = ids.map((v, j) => single(v, logQ[j]!, Math.exp(logQ[j]!)));
  const top = new Set(ids);
  const rest = all.filter((v) => !top.has(v));
  if (support === "tail") {
    const mass = rest.reduce((sum, v) => sum + p[v]!, 0);
    const q = Math.max(1 - logQ.reduce((sum, x) => sum + Math.exp(x), 0), LEAST_TAIL);
    const logMass = Math.log(Math.max(mass, LEAST_TAIL));
    const held = mass <= LEAST_TAIL;
    outcomes.push({ tokens: rest, logP: logMass, logQ: Math.log(q), q, held });
  }
  if (support === "floor") for (const v of rest) outcomes.push(single(v, setting.logFloor, 0));
  return { p, outcomes };
}

/** An outcome's share of the divergence, and P times its derivative by P. */
export function shareOf(
  { logP, logQ, q }: Outcome,
  { kind, weight }: DivergenceSetting,
): { value: number; pull: number } {
  const p = Math.exp(logP);
  const forward = q === 0 ? 0 : q * (logQ - logP);
  const reverse = p === 0 ? 0 : p * (logP - logQ);
  switch (kind) {
    case "forward":
      return { value: forward, pull: -q };
    case "reverse":
      return { value: reverse, pull: reverse + p };
    case "mixed": {
      const value = (weight > 0 ? weight * forward : 0) + (weight < 1 ? (1 - weight) * reverse : 0);
      return { value, pull: -weight * q + (weight < 1 ? (1 - weight) * (reverse + p) : 0) };
    }
    case "jsd": {
      const logM = Math.log(weight * q + (1 - weight) * p);
      const teacher = q === 0 ? 0 : weight * q * (logQ - logM);
      const student = p === 0 ? 0 : (1 - weight) * p * (logP - logM);
      return { value: teacher + student, pull: student };
    }
  }
}

/**
 * The divergence of one row and, by the chain rule over the outcomes,
 * d P / d z_v = p_v (1[v in outcome] - P), its gradient.
 */
export function divergence(row: DivergenceRow, setting: DivergenceSetting): DivergenceResult {
  const { p, outcomes } = outcomesOf(row, setting);
  const gradient = new Float64Array(p.length);
  let value = 0;
  let pulled = 0;
  for (const outcome of outcomes) {
    const part = shareOf(outcome, setting);
    value += part.value;
    if (outcome.held) continue;
    pulled += part.pull;
    const alone = outcome.tokens.length === 1;
    const mass = Math.exp(outcome.logP);
    for (const v of outcome.tokens) gradient[v] = part.pull * (alone ? 1 : p[v]! / mass);
  }
  if (setting.nonNegative && value < 0) return { divergence: 0, gradient: gradient.fill(0) };
  for (let v = 0; v < p.length; ++v) {
    gradient[v] = (gradient[v]! - p[v]! * pulled) / setting.temperature;
  }
  return { divergence: value, gradient };
}
