import type { Engine, FaultReport } from "../engine/engine.js";
import { type LogProbResult, logProbBackward } from "../engine/kernels/logProb.js";
import {
  logProbMerge,
  logProbPartial,
  logProbPartialFields,
} from "../engine/kernels/logProbShards.js";
import type { Tensor } from "../engine/tensor.js";
import { temperatureOf } from "../reference/logProb.js";
import { type Check, firstOf } from "./check.js";
import { close, identical, sameBits, values, zero } from "./compare.js";
import { type Float, faultsOf, typed, widen, withThreads } from "./inputs.js";
import {
  type CaseOptions,
  compareBackward,
  compareForward,
  forward,
  gradients,
  type LogProbCase,
  makeCase,
  padded,
  reading,
} from "./logProb.js";
import { put, wholeRow } from "./logProbBits.js";

const family = "log-prob";
const everything = { entropy: true, vocabMean: true };

/** Bounds of shards of equal width; the first ones get the columns that are left over. */
export function evenly(vocab: number, shards: number): number[] {
  const [width, more] = [Math.floor(vocab / shards), vocab % shards];
  return Array.from({ length: shards + 1 }, (_, i) => i * width + Math.min(i, more));
}

/** Columns `begin` to `end` of a case, as a rank holds them: targets keep their numbers. */
function columnsOf(c: LogProbCase, begin: number, end: number): LogProbCase {
  const inside = (_: number, i: number) => i % c.vocab >= begin && i % c.vocab < end;
  return { ...c, vocab: end - begin, logits: typed(c.logits.numbers.filter(inside), c.dtype) };
}

function shards(
  c: LogProbCase,
  bounds: readonly number[],
): { start: number; shard: LogProbCase }[] {
  return bounds
    .slice(1)
    .map((end, i) => ({ start: bounds[i]!, shard: columnsOf(c, bounds[i]!, end) }));
}

function uploadShard(engine: Engine, { start: _, shard }: { start: number; shard: LogProbCase }) {
  const width = shard.vocab + (shard.padding ?? 0);
  return engine.tensor(padded(shard), [shard.targets.length, width], shard.dtype);
}

function partials(engine: Engine, c: LogProbCase, bounds: readonly number[]): Tensor[] {
  return shards(c, bounds).map((each) =>
    logProbPartial(engine, uploadShard(engine, each), c.targets, {
      ...reading(each.shard),
      vocabStart: each.start,
    }),
  );
}

/** What the shards between `bounds` make of a case's rows. */
export function shardedForward(
  engine: Engine,
  c: LogProbCase,
  bounds: readonly number[],
  asked = everything,
): LogProbResult {
  return logProbMerge(engine, partials(engine, c, bounds), { vocab: c.vocab, ...asked });
}

/** d logits of the whole vocabulary, [T, V], each shard in place. */
export function shardedBackward(
  engine: Engine,
  c: LogProbCase,
  bounds: readonly number[],
  merged: LogProbResult,
): Float64Array {
  const out = new Float64Array(c.logits.numbers.length);
  for (const each of shards(c, bounds)) {
    const logits = uploadShard(engine, each);
    const { stats } = merged;
    const dLogits = logProbBackward(engine, {
      logits,
      targets: c.targets,
      stats,
      ...reading(each.shard),
      ...gradients(c, merged),
      vocabStart: each.start,
      vocab: c.vocab,
      out: logits,
    });
    const got = widen(dLogits.readSync(), c.dtype);
    const { vocab, padding = 0 } = each.shard;
    for (let t = 0; t < c.targets.length; ++t) {
      const row = got.subarray(t * (vocab + padding), t * (vocab + padding) + vocab);
      out.set(row, t * c.vocab + each.start);
    }
  }
  return out;
}

function checkShards(engine: Engine, c: LogProbCase, bounds: readonly number[]): string | null {
  const got = shardedForward(engine, c, bounds);
  return firstOf(
    compareForward(engine, c, got),
    compareBackward(c, shardedBackward(engine, c, bounds, got)),
  );
}

/** Row t's target is in shard t, and round again. */
function targetsInEvery(c: LogProbCase, bounds: readonly number[]): LogProbCase {
  const count = bounds.length - 1;
  const targets = c.targets.map((_, t) => bounds[(t % count) + 1]! - 1);
  return { ...c, targets };
}

function split(name: string, options: CaseOptions, bounds: readonly number[]): Check {
  return {
    family,
    name: `shards: ${name}`,
    run: (engine) => checkShards(engine, targetsInEvery(makeCase(options), bounds), bounds),
  };
}

function single(dtype: Float, vocab: number): Check {
  return {
    family,
    name: `shards: one of ${dtype} V=${vocab} gives the bits of logProb, faults included`,
    run(engine) {
      const infinity = Number.POSITIVE_INFINITY;
      const c = makeCase({ dtype, tokens: 10, vocab, temperature: "rows" });
      c.mask = Uint8Array.from(c.targets, (_, t) => (t === 1 ? 0 : 1));
      c.targets.set([vocab, -1], 2);
      let bad = put(c, [
        [4, vocab - 1, Number.NaN],
        [5, 0, infinity],
        [6, Math.floor(vocab / 2), -infinity],
      ]);
      bad = wholeRow(bad, 7, -infinity);
      const told: FaultReport[][] = [];
      const [whole, merged] = [
        (own: Engine) => forward(own, bad),
        (own: Engine) => shardedForward(own, bad, [0, vocab]),
      ].map((run) => {
        let bits: ArrayBufferView[] = [];
        const { faults } = faultsOf(engine, (own) => {
          const got = run(own);
          bits = [got.logProb, got.entropy!, got.vocabMean!, got.stats].map((x) => x.readSync());
          return null;
        });
        told.push(faults.map((fault) => ({ ...fault, call: "" })));
        return bits;
      });
      const [before, after] = told.map((faults) => JSON.stringify(faults));
      return firstOf(
        ...whole!.map((bits, i) => sameBits(`output ${i}`, merged![i]!, bits)),
        told[0]!.length >= 3 && before === after ? null : `reported ${after} instead of ${before}`,
      );
    },
  };
}

/** A row that the shards together cannot use; the others keep their bits. */
function faulty(
  name: string,
  kind: FaultReport["kind"],
  merge: (own: Engine, c: LogProbCase, bounds: number[]) => LogProbResult,
): Check {
  return {
    family,
    name: `shards: ${name}: NaN, gradient 0, reported, no other row touched`,
    run(engine) {
      const c = makeCase({ tokens: 5, vocab: 40, temperature: "rows" });
      const bounds = evenly(40, 3);
      const { finding, faults } = faultsOf(engine, (own) => {
        const good = shardedForward(own, c, bounds);
        const got = merge(own, c, bounds);
        const outputs = ["logProb", "entropy", "vocabMean"] as const;
        const dLogits = shardedBackward(own, c, bounds, got);
        return firstOf(
          ...outputs.map((of) => close(of, values(got[of]!.rows(2, 3)), [Number.NaN], 0)),
          zero("dLogits", dLogits.subarray(80, 120)),
          ...[0, 1, 3, 4].flatMap((t) =>
            outputs.map((of) =>
              identical(`${of} of row ${t}`, got[of]!.rows(t, t + 1), good[of]!.rows(t, t + 1)),
            ),
          ),
        );
      });
      if (finding !== null) return finding;
      const wrong = faults.find(
        (f) => f.kind !== kind || f.count !== 1 || f.firstRow !== 2 || f.call !== "log_prob_merge",
      );
      if (faults.length > 0 && wrong === undefined) return null;
      return `reported ${JSON.stringify(faults)} instead of ${kind} in row 2`;
    },
  };
}

const fields: Check = {
  family,
  name: "shards: a partial holds what it says",
  run(engine) {
    const infinity = Number.POSITIVE_INFINITY;
    let c = makeCase({ tokens: 5, vocab: 20, temperature: "rows", seed: 3 });
    c.mask = Uint8Array.of(1, 1, 0, 1, 1);
    c.targets.set([12, 3, 15, 18, 11]);
    c = put(c, [
      [3, 11, -infinity],
      [4, 13, Number.NaN],
    ]);
    const got = values(partials(engine, c, [0, 10, 20])[1]!);
    const want = c.targets.map(() => 0).length;
    const rows = Array.from({ length: want }, (_, t) => {
      if (t === 2) return [0, 0, 0, 0, 0, 0];
      const inverse = 1 / temperatureOf(c, t);
      if (t === 4) return [NaN, NaN, NaN, NaN, NaN, inverse];
      const x = c.logits.numbers.subarray(t * 20 + 10, t * 20 + 20);
      const max = Math.max(...x);
      const terms = [...x].map((each) => {
        const u = ((each - max) * inverse) / Math.LN2;
        return { s: 2 ** u, w: each === -infinity ? 0 : u * 2 ** u };
      });
      return [
        max,
        terms.reduce((sum, { s }) => sum + s, 0),
        terms.reduce((sum, { w }) => sum + w, 0),
        x.reduce((sum, each) => sum + each, 0),
        c.targets[t]! >= 10 ? x[c.targets[t]! - 10]! : infinity,
        inverse,
      ];
    });
    // Ten columns: a total of four roundings, sums of terms that are each some 6e-7 off.
    const tolerances = [0, 1e-5, 1e-5, 1e-5, 0, 1e-7 * 4];
    return firstOf(
      ...logProbPartialFields.map((field, i) =>
        close(
          field,
          rows.map((_, t) => got[6 * t + i]!),
          rows.map((row) => row[i]!),
          tolerances[i]!,
        ),
      ),
    );
  },
};

const forms: Check = {
  family,
  name: "shards: arrays, tensors and one tensor of all, on one and two threads, give the same bits",
  run(engine) {
    const c = makeCase({ dtype: "bf16", tokens: 23, vocab: 997, masked: true });
    const bounds = [0, 400, 401, 900, 997];
    const [one, two] = withThreads(engine, (own) => {
      const each = partials(own, c, bounds);
      const host = each.map((partial) => partial.readSync() as Float64Array);
      const all = own.empty([4, 23, 6], "f64");
      all.write(Float64Array.from(host.flatMap((data) => [...data])));
      return [each, host, all].map((form) => {
        const got = logProbMerge(own, form, { vocab: 997, ...everything });
        return [got.logProb, got.entropy!, got.vocabMean!, got.stats].map((x) => x.readSync());
      });
    });
    return firstOf(
      ...[...one, ...two].flatMap((outputs) =>
        outputs.map((bits, i) => sameBits(`output ${i}`, bits, one[0]![i]!)),
      ),
    );
  },
};

/** Vocabularies split over several calls: values, bits, faults. */
export function logProbShardChecks(device: Engine["device"]): Check[] {
  const infinity = Number.POSITIVE_INFINITY;
  const floats = ["f32", "bf16", "f16"] as const;
  const checks = floats.flatMap((dtype) => [
    split(`2 of ${dtype}`, { dtype, tokens: 4, vocab: 1000 }, [0, 500, 1000]),
    split(
      `3 uneven of ${dtype}`,
      { dtype, tokens: 6, vocab: 1003, temperature: "rows", masked: true },
      [0, 900, 901, 1003],
    ),
    split(`8 of ${dtype}`, { dtype, tokens: 8, vocab: 333, temperature: 0.7 }, evenly(333, 8)),
    split(`2 padded of ${dtype}`, { dtype, tokens: 4, vocab: 62, padding: 5 }, evenly(62, 2)),
    single(dtype, 41),
    single(dtype, device === "emulated" ? 300 : 9001),
  ]);
  const away = (c: LogProbCase, begin: number, end: number): LogProbCase =>
    put(
      c,
      [...c.targets].flatMap((y, t) =>
        Array.from({ length: end - begin }, (_, i): [number, number, number] => [
          t,
          begin + i,
          begin + i === y ? 0 : -infinity,
        ]).filter(([, v]) => v !== y),
      ),
    );
  return [
    ...checks,
    split("8 of one column each", { tokens: 8, vocab: 8 }, evenly(8, 8)),
    split("64", { tokens: 5, vocab: 130 }, evenly(130, 64)),
    split("no rows", { tokens: 0, vocab: 40 }, evenly(40, 2)),
    split("logits around 10,000", { tokens: 4, vocab: 500, shift: 1e4 }, evenly(500, 3)),
    ...[0, 1, 2].map(
      (empty): Check => ({
        family,
        name: `shards: nothing but -inf in shard ${empty} of 3`,
        run(engine) {
          const bounds = [0, 30, 60, 90];
          const c = makeCase({ tokens: 4, vocab: 90, temperature: "rows" });
          c.targets.fill(bounds[(empty + 1) % 3]! + 3);
          return checkShards(engine, away(c, bounds[empty]!, bounds[empty + 1]!), bounds);
        },
      }),
    ),
    fields,
    forms,
    faulty("NaN in the second", "not-a-number", (own, c, bounds) =>
      shardedForward(own, put(c, [[2, 20, Number.NaN]]), bounds),
    ),
    faulty("nothing but -inf", "no-support", (own, c, bounds) =>
      shardedForward(own, wholeRow(c, 2, -infinity), bounds),
    ),
    ...[-1, 40].map((id) =>
      faulty(`target ${id} of 40`, "id-out-of-range", (own, c, bounds) =>
        shardedForward(own, { ...c, targets: c.targets.map((y, t) => (t === 2 ? id : y)) }, bounds),
      ),
    ),
    faulty("a temperature of 0", "parameter-out-of-range", (own, c, bounds) => {
      const temperature = own.tensor(
        (c.temperature as Float32Array).map((x, t) => (t === 2 ? 0 : x)),
      );
      return merge(own, c, bounds, () => ({ temperature }));
    }),
    faulty("masks that differ", "parameter-out-of-range", (own, c, bounds) =>
      merge(own, c, bounds, (i) => (i === 1 ? { mask: Uint8Array.of(1, 1, 0, 1, 1) } : {})),
    ),
    faulty("temperatures that differ", "parameter-out-of-range", (own, c, bounds) =>
      merge(own, c, bounds, (i) => {
        const temperature = (c.temperature as Float32Array).slice();
        if (i === 2) temperature[2] = 5;
        return { temperature };
      }),
    ),
  ];
}

/** The merge of shards that are read in ways of their own. */
function merge(
  own: Engine,
  c: LogProbCase,
  bounds: readonly number[],
  how: (shard: number) => { temperature?: Tensor | Float32Array; mask?: Uint8Array },
): LogProbResult {
  const each = shards(c, bounds).map((one, i) =>
    logProbPartial(own, uploadShard(own, one), c.targets, {
      ...reading(one.shard),
      ...how(i),
      vocabStart: one.start,
    }),
  );
  return logProbMerge(own, each, { vocab: c.vocab, ...everything });
}
