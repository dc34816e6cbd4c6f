import type { Engine, FaultReport } from "../../engine/engine.js";
import type { LogProbResult } from "../../engine/kernels/logProb.js";
import { logProbMerge, logProbPartialFields } from "../../engine/kernels/logProbShards.js";
import { temperatureOf } from "../../reference/logProb.js";
import { type Check, firstOf } from "../check.js";
import { close, identical, sameBits, values, zero } from "../compare.js";
import { type Float, faultsOf, withThreads } from "../inputs.js";
import { put, wholeRow } from "./bits.js";
import {
  type CaseOptions,
  compareBackward,
  compareForward,
  forward,
  type LogProbCase,
  makeCase,
} from "./cases.js";
import { evenly, partialsOf, type ReadShard, shardedBackward, shardedForward } from "./shards.js";

const family = "log-prob";
const infinity = Number.POSITIVE_INFINITY;

/** What a call returned, to compare bit by bit. */
function bitsOf(result: LogProbResult): ArrayBufferView[] {
  const { logProb, entropy, vocabMean, stats } = result;
  return [logProb, entropy!, vocabMean!, stats].map((tensor) => tensor.readSync());
}

function checkShards(engine: Engine, c: LogProbCase, bounds: readonly number[]): string | null {
  const got = shardedForward(engine, c, bounds);
  return firstOf(
    compareForward(engine, c, got),
    compareBackward(c, shardedBackward(engine, c, bounds, got)),
  );
}

/** Against float64 of the whole. Row t's target is in shard t, and round again. */
function split(name: string, options: CaseOptions, bounds: readonly number[]): Check {
  return {
    family,
    name: `shards: ${name}`,
    run(engine) {
      const c = makeCase(options);
      const count = bounds.length - 1;
      const targets = c.targets.map((_, t) => bounds[(t % count) + 1]! - 1);
      return checkShards(engine, { ...c, targets }, bounds);
    },
  };
}

function empty(shard: number): Check {
  return {
    family,
    name: `shards: nothing but -inf in shard ${shard} of 3`,
    run(engine) {
      const bounds = [0, 30, 60, 90];
      const c = makeCase({ tokens: 4, vocab: 90, temperature: "rows" });
      c.targets.fill(bounds[(shard + 1) % 3]! + 3);
      const gone = Array.from({ length: 4 * 30 }, (_, i): [number, number, number] => [
        i % 4,
        bounds[shard]! + Math.floor(i / 4),
        -infinity,
      ]);
      return checkShards(engine, put(c, gone), bounds);
    },
  };
}

function single(dtype: Float, vocab: number): Check {
  return {
    family,
    name: `shards: one of ${dtype} V=${vocab} gives the bits of logProb, faults included`,
    run(engine) {
      const c = makeCase({ dtype, tokens: 10, vocab, temperature: "rows" });
      c.mask = Uint8Array.from(c.targets, (_, t) => (t === 1 ? 0 : 1));
      c.targets.set([vocab, -1], 2);
      const spoilt = put(c, [
        [4, vocab - 1, Number.NaN],
        [5, 0, infinity],
        [6, Math.floor(vocab / 2), -infinity],
      ]);
      const bad = wholeRow(spoilt, 7, -infinity);
      const run = (call: (own: Engine) => LogProbResult) => {
        let bits: ArrayBufferView[] = [];
        const { faults } = faultsOf(engine, (own) => {
          bits = bitsOf(call(own));
          return null;
        });
        const told = faults.map(({ kind, count, firstRow }) => `${kind} ${count} ${firstRow}`);
        return { bits, told: told.join(", ") };
      };
      const whole = run((own) => forward(own, bad));
      const merged = run((own) => shardedForward(own, bad, [0, vocab]));
      const expected = "id-out-of-range 2 2, not-a-number 2 4, no-support 1 7";
      return firstOf(
        ...whole.bits.map((bits, i) => sameBits(`output ${i}`, merged.bits[i]!, bits)),
        ...[whole, merged].map(({ told }) =>
          told === expected ? null : `reported ${told} instead of ${expected}`,
        ),
      );
    },
  };
}

/** A row that the shards together cannot use; the others keep their bits. */
function faulty(
  name: string,
  kind: FaultReport["kind"],
  spoil: (c: LogProbCase) => LogProbCase,
  how?: (own: Engine, c: LogProbCase) => ReadShard,
): Check {
  return {
    family,
    name: `shards: ${name}: NaN, gradient 0, reported, no other row touched`,
    run(engine) {
      const c = makeCase({ tokens: 5, vocab: 40, temperature: "rows" });
      const bounds = evenly(40, 3);
      const { finding, faults } = faultsOf(engine, (own) => {
        const good = shardedForward(own, c, bounds);
        const partials = partialsOf(own, spoil(c), bounds, how?.(own, c));
        const got = logProbMerge(own, partials, { vocab: 40, entropy: true, vocabMean: true });
        const dLogits = shardedBackward(own, spoil(c), bounds, got);
        const outputs = ["logProb", "entropy", "vocabMean"] as const;
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
      const told = faults.map((f) => `${f.call} ${f.kind} ${f.count} ${f.firstRow}`).join(", ");
      const expected = `log_prob_merge ${kind} 1 2`;
      return told === expected ? null : `reported ${told} instead of ${expected}`;
    },
  };
}

const fields: Check = {
  family,
  name: "shards: a partial holds what it says",
  run(engine) {
    const drawn = makeCase({ tokens: 5, vocab: 20, temperature: "rows", seed: 3 });
    drawn.mask = Uint8Array.of(1, 1, 0, 1, 1);
    drawn.targets.set([12, 3, 15, 18, 11]);
    const c = put(drawn, [
      [3, 11, -infinity],
      [4, 13, Number.NaN],
    ]);
    const rows = [...c.targets].map((target, t) => {
      if (t === 2) return [0, 0, 0, 0, 0, 0];
      const inverse = 1 / temperatureOf(c, t);
      if (t === 4) return [NaN, NaN, NaN, NaN, NaN, inverse];
      const x = [...c.logits.numbers.subarray(t * 20 + 10, t * 20 + 20)];
      const max = Math.max(...x);
      const u = x.map((each) => ((each - max) * inverse) / Math.LN2);
      return [
        max,
        u.reduce((sum, each) => sum + 2 ** each, 0),
        u.reduce((sum, each) => sum + (each === -infinity ? 0 : each * 2 ** each), 0),
        x.reduce((sum, each) => sum + each, 0),
        target < 10 ? infinity : x[target - 10]!,
        inverse,
      ];
    });
    const got = values(partialsOf(engine, c, [0, 10, 20])[1]!);
    // Sums of ten terms of at most 1, 0.54 and 20, each with some roundings; the inverse has one.
    const tolerances = [0, 5e-6, 5e-6, 1e-5, 0, 4 * 2 ** -24];
    return firstOf(
      ...logProbPartialFields.map((field, i) => {
        const column = rows.map((row) => row[i]!);
        const held = rows.map((_, t) => got[t * rows[0]!.length + i]!);
        return close(field, held, column, tolerances[i]!);
      }),
    );
  },
};

const forms: Check = {
  family,
  name: "shards: arrays, tensors and one tensor of all, on one and two threads, give the same bits",
  run(engine) {
    const c = makeCase({ dtype: "bf16", tokens: 23, vocab: 997, masked: true });
    const all = withThreads(engine, (own) => {
      const each = partialsOf(own, c, [0, 400, 401, 900, 997]);
      const host = each.map((partial) => partial.readSync() as Float64Array);
      const stacked = own.empty([4, 23, logProbPartialFields.length], "f64");
      stacked.write(Float64Array.from(host.flatMap((data) => [...data])));
      const asked = { vocab: 997, entropy: true, vocabMean: true };
      return [each, host, stacked].map((form) => bitsOf(logProbMerge(own, form, asked)));
    }).flat();
    return firstOf(
      ...all.flatMap((outputs) =>
        outputs.map((bits, i) => sameBits(`output ${i}`, bits, all[0]![i]!)),
      ),
    );
  },
};

/** Vocabularies split over several calls: values, bits, faults. */
export function logProbShardChecks(device: Engine["device"]): Check[] {
  const long = device === "emulated" ? 300 : 9001;
  const uneven = { tokens: 6, vocab: 1003, temperature: "rows", masked: true } as const;
  const same = (c: LogProbCase) => c;
  /** Row 2's temperature is another one in the shards chosen. */
  const temperature =
    (value: number, shards: readonly number[]) => (own: Engine, c: LogProbCase) => {
      const all = c.temperature as Float32Array;
      const changed = own.tensor(all.map((x, t) => (t === 2 ? value : x)));
      return (i: number) => ({ temperature: shards.includes(i) ? changed : all });
    };
  return [
    ...(["f32", "bf16", "f16"] as const).flatMap((dtype) => [
      split(`2 of ${dtype}`, { dtype, tokens: 4, vocab: 1000 }, [0, 500, 1000]),
      split(`3 uneven of ${dtype}`, { dtype, ...uneven }, [0, 900, 901, 1003]),
      split(`8 of ${dtype}`, { dtype, tokens: 8, vocab: 333, temperature: 0.7 }, evenly(333, 8)),
      split(`2 padded of ${dtype}`, { dtype, tokens: 4, vocab: 62, padding: 5 }, evenly(62, 2)),
      single(dtype, 41),
      single(dtype, long),
    ]),
    split("8 of one column each", { tokens: 8, vocab: 8 }, evenly(8, 8)),
    split("64", { tokens: 5, vocab: 130 }, evenly(130, 64)),
    split("no rows", { tokens: 0, vocab: 40 }, evenly(40, 2)),
    split("logits around 10,000", { tokens: 4, vocab: 500, shift: 1e4 }, evenly(500, 3)),
    ...[0, 1, 2].map(empty),
    fields,
    forms,
    faulty("NaN in the second", "not-a-number", (c) => put(c, [[2, 20, Number.NaN]])),
    faulty("nothing but -inf", "no-support", (c) => wholeRow(c, 2, -infinity)),
    ...[-1, 40].map((id) =>
      faulty(`target ${id} of 40`, "id-out-of-range", (c) => ({
        ...c,
        targets: c.targets.map((y, t) => (t === 2 ? id : y)),
      })),
    ),
    faulty("a temperature of 0", "parameter-out-of-range", same, temperature(0, [0, 1, 2])),
    faulty("temperatures that differ", "parameter-out-of-range", same, temperature(5, [2])),
    faulty("masks that differ", "parameter-out-of-range", same, () => (i) => ({
      mask: Uint8Array.of(1, 1, i === 1 ? 0 : 1, 1, 1),
    })),
  ];
}
