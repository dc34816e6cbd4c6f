import type { Engine } from "../../engine/engine.js";
import { rowScore, rowScoreBackward } from "../../engine/kernels/rowScore.js";
import { rowScoreTable } from "../../engine/kernels/rowScoreTable.js";
import { offsetsOf } from "../../engine/ragged.js";
import { finiteDifference } from "../../reference/finiteDifference.js";
import {
  type RowScoreSetting,
  type RowTokens,
  rowScore as reference,
  rowScoreGradient,
} from "../../reference/rowScore.js";
import { type Check, firstOf } from "../check.js";
import { close, sameBits, zero } from "../compare.js";
import { faultsOf, Random, withThreads } from "../inputs.js";

const family = "row-score";

/** Rows of a batch: empty ones, single tokens, whole quads and parts, at every alignment. */
const ragged = [3, 0, 1, 17, 40, 5, 0, 64, 1, 9, 8, 4, 130];

export interface Tokens {
  logProb: Float32Array;
  baseLogProb: Float32Array | null;
  mask: Uint8Array | null;
  rowOffsets: Int32Array;
  dScore: Float64Array;
}

export interface TokensOptions {
  seed?: number;
  lengths?: readonly number[];
  base?: boolean;
  masked?: boolean;
  /** Spread of the log-ratios. */
  spread?: number;
}

export function tokensFor(options: TokensOptions = {}): Tokens {
  const random = new Random(options.seed ?? 1);
  const rowOffsets = offsetsOf(options.lengths ?? ragged);
  const count = rowOffsets.at(-1)!;
  const logProb = random.normals(count).map((x) => -Math.abs(x) * 2);
  const spread = options.spread ?? 0.3;
  const base = logProb.map((x) => x + spread * random.normal());
  return {
    logProb,
    baseLogProb: (options.base ?? true) ? base : null,
    mask: options.masked ? random.mask(count) : null,
    rowOffsets,
    dScore: Float64Array.from({ length: rowOffsets.length - 1 }, () => random.normal()),
  };
}

const plain: RowScoreSetting = { pooling: "mean", term: "log-ratio" };

function call(engine: Engine, b: Tokens, setting: RowScoreSetting) {
  const { logProb, baseLogProb, mask, rowOffsets, dScore } = b;
  const { term } = setting;
  const scored = rowScore(engine, { logProb, baseLogProb, mask, rowOffsets }, setting);
  const policies = term === "k3" ? { logProb, baseLogProb } : {};
  const { tokenWeight } = scored;
  const rows = { dScore, tokenWeight, mask, rowOffsets, ...policies };
  return {
    score: scored.score.readSync() as Float64Array,
    trainedTokens: scored.trainedTokens.readSync() as Int32Array,
    dLogProb: rowScoreBackward(engine, rows, { term }).readSync() as Float32Array,
  };
}

const relative = Object.fromEntries(rowScoreTable.tolerances.map(({ of, cpu }) => [of, cpu]));

function checkRowScore(engine: Engine, b: Tokens, setting: RowScoreSetting): string | null {
  const got = call(engine, b, setting);
  const tokens: RowTokens = b;
  const want = reference(tokens, setting);
  const gradient = rowScoreGradient(tokens, setting, b.dScore);
  return firstOf(
    close("score", got.score, want.score, (r) => relative.score! * want.magnitude[r]! + 1e-300),
    close("trainedTokens", got.trainedTokens, want.trainedTokens, 0),
    close("dLogProb", got.dLogProb, gradient, (t) => {
      // A float below 1e-38 has fewer digits.
      return relative["d log-prob"]! * Math.abs(gradient[t]!) + 1e-45;
    }),
  );
}

/** Rows `order` of a batch, as a batch of their own. */
function pick(b: Tokens, order: readonly number[]): Tokens {
  const bounds = (row: number): [number, number] => [b.rowOffsets[row]!, b.rowOffsets[row + 1]!];
  const joined = (x: Float32Array) => order.flatMap((row) => [...x.subarray(...bounds(row))]);
  return {
    logProb: Float32Array.from(joined(b.logProb)),
    baseLogProb: b.baseLogProb && Float32Array.from(joined(b.baseLogProb)),
    mask: b.mask && Uint8Array.from(order.flatMap((row) => [...b.mask!.subarray(...bounds(row))])),
    rowOffsets: offsetsOf(order.map((row) => bounds(row)[1] - bounds(row)[0])),
    dScore: Float64Array.from(order, (row) => b.dScore[row]!),
  };
}

function gradientCheck(setting: RowScoreSetting): Check {
  return {
    family,
    name: `gradient against central differences, ${setting.term}, ${setting.pooling}`,
    run(engine) {
      const b = tokensFor({ masked: true, lengths: [7, 0, 12, 1], seed: 4 });
      const objective = (logProb: Float64Array) =>
        reference({ ...b, logProb } as RowTokens, setting).score.reduce(
          (sum, x, r) => sum + x * b.dScore[r]!,
          0,
        );
      const want = finiteDifference(objective, b.logProb);
      return close("dLogProb", call(engine, b, setting).dLogProb, want, 1e-6);
    },
  };
}

const anyOrder: Check = {
  family,
  name: "rows in any order, at any alignment: the same bits",
  run(engine) {
    const b = tokensFor({ masked: true, seed: 5 });
    const order = new Random(6).permutation(b.dScore.length).slice(2);
    const [whole, some] = [call(engine, b, plain), call(engine, pick(b, order), plain)];
    const want = order.flatMap((row) => [
      ...whole.dLogProb.subarray(b.rowOffsets[row]!, b.rowOffsets[row + 1]!),
    ]);
    return firstOf(
      sameBits(
        "score",
        some.score,
        Float64Array.from(order, (row) => whole.score[row]!),
      ),
      sameBits("dLogProb", some.dLogProb, Float32Array.from(want)),
    );
  },
};

const threads: Check = {
  family,
  name: "one and two threads give the same bits",
  run(engine) {
    const b = tokensFor({ masked: true, lengths: [3000, 1, 0, 5000, 700] });
    const [one, two] = withThreads(engine, (own) => call(own, b, plain));
    return firstOf(
      sameBits("score", one.score, two.score),
      sameBits("dLogProb", one.dLogProb, two.dLogProb),
    );
  },
};

const underMask: Check = {
  family,
  name: "NaN and infinities under the mask change no bit",
  run(engine) {
    const b = tokensFor({ masked: true, seed: 7 });
    const filth = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    const soil = (x: Float32Array) => x.map((v, t) => (b.mask![t] === 0 ? filth[t % 3]! : v));
    const dirty = { ...b, logProb: soil(b.logProb), baseLogProb: soil(b.baseLogProb!) };
    const { finding, faults } = faultsOf(engine, (own) =>
      firstOf(
        ...(["log-ratio", "k3"] as const).map((term) => {
          const [clean, got] = [b, dirty].map((x) => call(own, x, { ...plain, term }));
          const masked = got!.dLogProb.filter((_, t) => b.mask![t] === 0);
          return firstOf(
            sameBits("score", got!.score, clean!.score),
            sameBits("dLogProb", got!.dLogProb, clean!.dLogProb),
            zero("masked dLogProb", masked),
          );
        }),
      ),
    );
    return finding ?? (faults.length === 0 ? null : `faults reported: ${JSON.stringify(faults)}`);
  },
};

function fault(name: "logProb" | "baseLogProb", value: number): Check {
  return {
    family,
    name: `${value} in ${name} of a trained token: score NaN, gradient 0, reported, others untouched`,
    run(engine) {
      const b = tokensFor({ lengths: [4, 5, 3] });
      const spoilt = b[name]!.map((x, t) => (t === 6 ? value : x));
      // What comes from above must not matter to a faulty row.
      const dScore = b.dScore.map((x, r) => (r === 1 ? Number.NaN : x));
      const { finding, faults } = faultsOf(engine, (own) => {
        const [got, clean] = [
          call(own, { ...b, [name]: spoilt, dScore }, plain),
          call(own, b, plain),
        ];
        return firstOf(
          close("score", got.score, [clean.score[0]!, Number.NaN, clean.score[2]!], 0),
          zero("dLogProb of the row", got.dLogProb.subarray(4, 9)),
          sameBits("dLogProb before", got.dLogProb.slice(0, 4), clean.dLogProb.slice(0, 4)),
          sameBits("dLogProb behind", got.dLogProb.slice(9), clean.dLogProb.slice(9)),
        );
      });
      if (finding !== null) return finding;
      const [first] = faults;
      const right = faults.length === 1 && first!.count === 1 && first!.firstRow === 1;
      return right ? null : `reported ${JSON.stringify(faults)} instead of row 1`;
    },
  };
}

const overflow: Check = {
  family,
  name: "a gradient that is not a finite float is 0 and reported",
  run(engine) {
    const b = tokensFor({ lengths: [3, 2] });
    b.dScore.set([Number.NaN, 1e300]);
    const { finding, faults } = faultsOf(engine, (own) =>
      zero("dLogProb", call(own, b, plain).dLogProb),
    );
    if (finding !== null) return finding;
    const right = faults.length === 1 && faults[0]!.count === 2 && faults[0]!.firstRow === 0;
    return right ? null : `reported ${JSON.stringify(faults)} instead of two rows`;
  },
};

export function rowScoreChecks(device: Engine["device"]): Check[] {
  const checks: Check[] = [];
  const add = (name: string, options: TokensOptions, setting: RowScoreSetting) =>
    checks.push({
      family,
      name,
      run: (engine) => checkRowScore(engine, tokensFor(options), setting),
    });
  for (const { choices, refusal } of rowScoreTable.combinations) {
    if (refusal !== null) continue;
    const setting = choices as unknown as RowScoreSetting;
    const { term, pooling } = setting;
    const base = choices.base === "given";
    const name = `${term}, ${pooling}, ${base ? "with" : "without"} a base`;
    add(name, { base }, { term, pooling });
    add(`${name}, masked`, { base, masked: true, seed: 2 }, { term, pooling });
    if (base) checks.push(gradientCheck({ term, pooling }));
  }
  const long = device === "emulated" ? [1500, 2, 700] : [70000, 2, 30001];
  const many = Array.from({ length: device === "emulated" ? 60 : 20000 }, (_, r) => r % 4);
  add("long rows", { lengths: long, masked: true }, plain);
  add("many short rows", { lengths: many, masked: true }, plain);
  add("k3 of nearly equal policies", { spread: 1e-5 }, { term: "k3", pooling: "mean" });
  add("k3 of policies far apart", { spread: 20 }, { term: "k3", pooling: "mean" });
  add("only empty rows", { lengths: [0, 0, 0] }, plain);
  add("no rows", { lengths: [] }, plain);
  return [
    ...checks,
    anyOrder,
    threads,
    underMask,
    fault("logProb", Number.NaN),
    fault("logProb", Number.NEGATIVE_INFINITY),
    fault("baseLogProb", Number.POSITIVE_INFINITY),
    overflow,
    {
      family,
      name: "all masked: score 0, gradient 0",
      run(engine) {
        const b = tokensFor();
        b.mask = new Uint8Array(b.logProb.length);
        b.logProb.fill(Number.NaN);
        const got = call(engine, b, plain);
        return firstOf(...Object.entries(got).map(([name, x]) => zero(name, x)));
      },
    },
  ];
}
