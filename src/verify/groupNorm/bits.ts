import type { Engine } from "../../engine/engine.js";
import type { GroupNormSetting } from "../../reference/groupNorm.js";
import { type Check, firstOf } from "../check.js";
import { sameBits } from "../compare.js";
import { Random, withThreads } from "../inputs.js";
import {
  type Batch,
  batch,
  bigGroup,
  call,
  family,
  groupsOf,
  grpo,
  label,
  ragged,
} from "./batch.js";

/** Every way in which values are gone through: sums, medians, others, the batch. */
export const settings: GroupNormSetting[] = [
  grpo,
  { ...grpo, center: "median", scale: "median-deviation", scope: "blend" },
  { ...grpo, center: "leave-one-out", scale: "leave-one-out-std" },
  { ...grpo, center: "ema", scale: "mean-deviation", scope: "batch" },
];

/** All results of a call as one array of bits. */
function bits(engine: Engine, b: Batch, setting: GroupNormSetting): Float32Array {
  const { advantage, center, scale } = call(engine, b, setting);
  return Float32Array.from([advantage, center, scale].flatMap((t) => [...t.readSync()]));
}

/** Rows of all groups mixed, each group's own rows in their order: sums are in order, and so are bits. */
function interleaved(b: Batch, random: Random): Batch {
  const group = new Int32Array(b.order.length);
  for (const [g, rows] of groupsOf(b).entries()) for (const row of rows) group[row] = g;
  const waiting = groupsOf(b).map((rows) => [...rows]);
  // At place p now stands the row `from[p]` of b.
  const from = random.permutation(b.order.length).map((row) => waiting[group[row]!]!.shift()!);
  const place = new Int32Array(from.length);
  for (const [p, row] of from.entries()) place[row] = p;
  return {
    ...b,
    values: Float32Array.from(from, (row) => b.values[row]!),
    order: b.order.map((row) => place[row]!),
  };
}

function bitChecks(setting: GroupNormSetting, device: Engine["device"]): Check[] {
  const name = label(setting);
  const big = bigGroup(device);
  const small = { ...setting, scope: "group" } as const;
  return [
    {
      family,
      name: `scattered keys give each row the bits of its contiguous group, ${name}`,
      run(engine) {
        const b = batch({ seed: 3 });
        const mixed = interleaved(b, new Random(4));
        const straight = call(engine, b, setting).advantage.readSync();
        const scattered = call(engine, mixed, setting).advantage.readSync();
        const back = Float32Array.from(mixed.order, (place) => scattered[place]!);
        return sameBits("advantage", back, straight);
      },
    },
    {
      family,
      name: `one and two threads give the same bits, ${name}`,
      run(engine) {
        const b = batch({ seed: 7, lengths: [...ragged, big], columns: 2 });
        const [one, two] = withThreads(engine, (own) => bits(own, b, setting));
        return sameBits("results", two, one);
      },
    },
    {
      family,
      name: `NaN and infinity in invalid places change no bit, ${name}`,
      run(engine) {
        const b = batch({ seed: 8, columns: 2, missing: "values" });
        const filth = [Number.NaN, Infinity, -Infinity];
        const dirty = b.values.map((x, i) => (b.valid![i] === 0 ? filth[i % 3]! : x));
        const [clean, got] = [b, { ...b, values: dirty }].map((x) => bits(engine, x, setting));
        return sameBits("results", got!, clean!);
      },
    },
    {
      family,
      name: `a column has the bits it has alone, ${name}`,
      run(engine) {
        const b = batch({ seed: 9, columns: 3, missing: "values" });
        const pick = (data: Float32Array, k: number) => data.filter((_, i) => i % 3 === k);
        const whole = bits(engine, b, setting);
        return firstOf(
          ...[0, 1, 2].map((k) => {
            const valid = b.valid!.filter((_, i) => i % 3 === k);
            const one = { ...b, columns: 1, values: pick(b.values, k), valid, ema: pick(b.ema, k) };
            return sameBits(`column ${k}`, pick(whole, k), bits(engine, one, setting));
          }),
        );
      },
    },
    {
      family,
      name: `a group has the bits it has alone, ${label(small)}`,
      run(engine) {
        const b = batch({ seed: 10, lengths: [...ragged, 40] });
        const last = { values: b.values.slice(-40), order: b.order.slice(0, 40) };
        const alone = { ...b, ...last, lengths: [40], ema: b.ema.slice(-1) };
        const [whole, part] = [b, alone].map((x) => call(engine, x, small).advantage.readSync());
        return sameBits("advantage", whole!.slice(-40), part!);
      },
    },
  ];
}

export function groupNormBitChecks(device: Engine["device"]): Check[] {
  return settings.flatMap((setting) => bitChecks(setting, device));
}
