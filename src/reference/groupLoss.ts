export interface GroupLossSetting {
  kind: "real" | "real-bce" | "real-product" | "drpo" | "disco" | "reg-grpo" | "dpo" | "ipo";
  tau?: number;
  lambda?: number;
  maxCompletionLength?: number;
  eps?: number;
  ddof?: number;
  skipConstant?: boolean;
  beta?: number;
  labelSmoothing?: number;
  denominator?: number;
}

export interface GroupLossBatch {
  score: ArrayLike<number>;
  groupOffsets: ArrayLike<number>;
  reward?: ArrayLike<number> | null;
  lengths?: ArrayLike<number> | null;
  advantage?: ArrayLike<number> | null;
  valid?: ArrayLike<number> | null;
}

export interface GroupLossValues {
  loss: number;
  dScore: Float64Array;
  groupLoss: Float64Array;
  /** What the loss is divided by where no denominator is given, before it is held at 1 or more. */
  count: number;
  /** What rounding is relative to: the absolute values of what was added up, by group and by row. */
  lossMagnitude: Float64Array;
  dScoreMagnitude: Float64Array;
  /** By group, how much a relative error of a score weighs: 1 + the largest |exponent|. */
  condition: Float64Array;
}

/** One valid row of a group. */
interface Row {
  index: number;
  score: number;
  reward: number;
  length: number;
  advantage: number;
}

/** L of a group and d L / d score of its rows, in their order. */
interface Term {
  loss: number;
  gradient: number[];
  lossMagnitude: number;
  gradientMagnitude: number[];
  condition: number;
}

const sum = (x: readonly number[]) => x.reduce((a, b) => a + b, 0);
const largest = (x: readonly number[]) => x.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
const sigmoid = (x: number) => (x > 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));
const logSigmoid = (x: number) => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x)));

function softmax(x: readonly number[]): number[] {
  const max = x.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const powers = x.map((value) => Math.exp(value - max));
  const total = sum(powers);
  return powers.map((power) => power / total);
}

function logSumExp(x: readonly number[]): number {
  const max = x.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return max + Math.log(sum(x.map((value) => Math.exp(value - max))));
}

/** log(1 + sum exp(x)), to full precision also where the sum is next to nothing. */
function logOnePlus(x: readonly number[]): number {
  const small = x.every((value) => value <= 0);
  return small ? Math.log1p(sum(x.map((value) => Math.exp(value)))) : logSumExp([0, ...x]);
}

/** Derivatives of `logOnePlus`. */
const onePlusShares = (x: readonly number[]) => softmax([0, ...x]).slice(1);

/** Puts gradients of the positive and of the negative rows back into the rows' order. */
function inOrder(
  rows: readonly Row[],
  positive: readonly number[],
  negative: readonly number[],
): number[] {
  let [p, n] = [0, 0];
  return rows.map(({ reward }) =>
    reward === 1 ? positive[p++]! : reward === 0 ? negative[n++]! : 0,
  );
}

function contrast(rows: readonly Row[], setting: GroupLossSetting): Term | null {
  const P = rows.filter(({ reward }) => reward === 1);
  const N = rows.filter(({ reward }) => reward === 0);
  if (P.length === 0 || N.length === 0) return null;
  const tau = setting.tau!;
  const up = P.map(({ score }) => -score / tau);
  const down = N.map(({ score }) => score / tau);
  const exponents = largest([...up, ...down]);
  const done = (loss: number, positive: number[], negative: number[], lossMagnitude = loss) => {
    const gradient = inOrder(rows, positive, negative);
    const gradientMagnitude = gradient.map(Math.abs);
    return { loss, gradient, lossMagnitude, gradientMagnitude, condition: 1 + exponents };
  };
  if (setting.kind === "real") {
    return done(
      logOnePlus(down) + logOnePlus(up),
      onePlusShares(up).map((share) => -share / tau),
      onePlusShares(down).map((share) => share / tau),
    );
  }
  if (setting.kind === "real-product") {
    // The product of both sums is the sum over all pairs of a negative and a positive row.
    const pairs = up.flatMap((x) => down.map((y) => x + y));
    const shares = onePlusShares(pairs);
    const positive = P.map(() => 0);
    const negative = N.map(() => 0);
    for (const [pair, share] of shares.entries()) {
      positive[Math.floor(pair / N.length)]! -= share / tau;
      negative[pair % N.length]! += share / tau;
    }
    return done(logOnePlus(pairs), positive, negative);
  }
  const utility = ({ length }: Row) => 1 - length / setting.maxCompletionLength!;
  const weights =
    setting.kind === "disco"
      ? P.map(() => 1 / P.length)
      : softmax(P.map((row) => utility(row) / setting.lambda!));
  const preferred = P.map(({ score }, i) => weights[i]! * score);
  const hardest = tau * (logSumExp(down) - Math.log(N.length));
  const out = done(
    hardest - sum(preferred),
    weights.map((w) => -w),
    softmax(down),
    tau * (1 + Math.log(N.length)) + sum(preferred.map(Math.abs)),
  );
  const utilities = setting.kind === "disco" ? 0 : largest(P.map(utility)) / setting.lambda!;
  return { ...out, condition: out.condition + utilities };
}

function crossEntropy(rows: readonly Row[], setting: GroupLossSetting): Term | null {
  const best = rows.reduce((max, { reward }) => Math.max(max, reward), Number.NEGATIVE_INFINITY);
  if (rows.every(({ reward }) => reward === best)) return null;
  const tau = setting.tau!;
  const losses = rows.map(({ score, reward }) =>
    reward === best ? -logSigmoid(score / tau) : -logSigmoid(-score / tau),
  );
  const gradient = rows.map(({ score, reward }) =>
    reward === best ? -sigmoid(-score / tau) / tau : sigmoid(score / tau) / tau,
  );
  return {
    loss: sum(losses),
    gradient,
    lossMagnitude: sum(losses),
    gradientMagnitude: gradient.map(Math.abs),
    condition: 1 + largest(rows.map(({ score }) => score)) / tau,
  };
}

function regression(rows: readonly Row[], setting: GroupLossSetting): Term | null {
  const n = rows.length;
  const targets = rows.map(({ advantage }) => advantage);
  if (n === 0 || (setting.skipConstant && targets.every((x) => x === targets[0]))) return null;
  const rho = rows.map(({ score }) => score);
  const flat = rho.every((x) => x === rho[0]);
  const mean = flat ? rho[0]! : sum(rho) / n;
  const c = rho.map((x) => x - mean);
  const freedom = n - (setting.ddof ?? 0);
  const std = flat ? 0 : Math.sqrt(sum(c.map((x) => x * x)) / freedom);
  const scale = std + setting.eps!;
  const inverse = scale === 0 ? 0 : 1 / scale;
  const errors = c.map((x, i) => x * inverse - targets[i]!);
  // d p_j / d rho_i: through the row itself, the mean and the std.
  const jacobian = (j: number, i: number) => {
    const own = ((i === j ? 1 : 0) - 1 / n) * inverse;
    return std === 0 ? own : own - (c[j]! * c[i]! * inverse * inverse) / (freedom * std);
  };
  const gradient = rho.map((_, i) => sum(errors.map((e, j) => ((2 * e) / n) * jacobian(j, i))));
  const size = c.map((x, i) => Math.abs(x) * inverse + Math.abs(targets[i]!));
  return {
    loss: sum(errors.map((e) => e * e)) / n,
    gradient,
    lossMagnitude: sum(size.map((x) => x * x)) / n,
    gradientMagnitude: rho.map((_, i) =>
      sum(size.map((x, j) => ((2 * x) / n) * (Math.abs(jacobian(j, i)) + inverse / n))),
    ),
    condition: 1 + (std === 0 ? 0 : largest(rho) / std),
  };
}

function preference(rows: readonly Row[], setting: GroupLossSetting): Term | null {
  if (rows.length < 2) return null;
  const [chosen, rejected] = [rows[0]!.score, rows[1]!.score];
  const beta = setting.beta!;
  const h = chosen - rejected;
  const both = (loss: number, slope: number, lossMagnitude: number, slopeMagnitude: number) => ({
    loss,
    gradient: [slope, -slope],
    lossMagnitude,
    gradientMagnitude: [slopeMagnitude, slopeMagnitude],
    condition: 1 + beta * (Math.abs(chosen) + Math.abs(rejected)),
  });
  if (setting.kind === "ipo") {
    const off = h - 1 / (2 * beta);
    const size = Math.abs(chosen) + Math.abs(rejected) + 1 / (2 * beta);
    return { ...both(off * off, 2 * off, size * size, 2 * size), condition: 1 };
  }
  const e = setting.labelSmoothing ?? 0;
  const loss = -(1 - e) * logSigmoid(beta * h) - (e === 0 ? 0 : e * logSigmoid(-beta * h));
  const [wrong, right] = [(1 - e) * sigmoid(-beta * h), e * sigmoid(beta * h)];
  return both(loss, beta * (right - wrong), loss + e * Math.abs(beta * h), beta * (right + wrong));
}

function term(rows: readonly Row[], setting: GroupLossSetting): Term | null {
  switch (setting.kind) {
    case "real-bce":
      return crossEntropy(rows, setting);
    case "reg-grpo":
      return regression(rows, setting);
    case "dpo":
    case "ipo":
      return preference(rows, setting);
    default:
      return contrast(rows, setting);
  }
}

/** The group's share of the counted denominator. */
function countOf(rows: readonly Row[], setting: GroupLossSetting, skipped: boolean): number {
  const everyGroup = ["real", "real-product", "drpo", "disco"].includes(setting.kind);
  if (everyGroup) return 1;
  if (skipped) return 0;
  return setting.kind === "real-bce" ? rows.length : 1;
}

/**
 * Losses over groups of rows as `kind` says (formulas: src/engine/kernels/groupLossTable.ts), with d loss /
 * d score. Rows that are not valid are left out; groups with nothing to compare give 0. Groups of dpo and ipo
 * are pairs, the chosen row first.
 *
 * REAL: arXiv 2602.05630; DRPO: 2510.04474; DisCO: 2505.12366; Reg-GRPO: 2506.07464; DPO: 2305.18290 with
 * label smoothing as in TRL; IPO: 2310.12036.
 */
export function groupLoss(batch: GroupLossBatch, setting: GroupLossSetting): GroupLossValues {
  const rows = batch.score.length;
  const groups = batch.groupOffsets.length - 1;
  const out = {
    dScore: new Float64Array(rows),
    dScoreMagnitude: new Float64Array(rows),
    groupLoss: new Float64Array(groups),
    lossMagnitude: new Float64Array(groups),
    condition: new Float64Array(groups).fill(1),
  };
  let count = 0;
  for (let g = 0; g < groups; ++g) {
    const members: Row[] = [];
    for (let index = batch.groupOffsets[g]!; index < batch.groupOffsets[g + 1]!; ++index) {
      if (batch.valid?.[index] === 0) continue;
      members.push({
        index,
        score: batch.score[index]!,
        reward: batch.reward?.[index] ?? 0,
        length: batch.lengths?.[index] ?? 0,
        advantage: batch.advantage?.[index] ?? 0,
      });
    }
    const found = term(members, setting);
    count += countOf(members, setting, found === null);
    if (found === null) continue;
    out.groupLoss[g] = found.loss;
    out.lossMagnitude[g] = found.lossMagnitude;
    out.condition[g] = found.condition;
    for (const [i, { index }] of members.entries()) {
      out.dScore[index] = found.gradient[i]!;
      out.dScoreMagnitude[index] = found.gradientMagnitude[i]!;
    }
  }
  const denominator = setting.denominator ?? Math.max(count, 1);
  return {
    ...out,
    loss: sum([...out.groupLoss]) / denominator,
    dScore: out.dScore.map((x) => x / denominator),
    dScoreMagnitude: out.dScoreMagnitude.map((x) => x / denominator),
    count,
  };
}
