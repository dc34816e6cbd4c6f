import type { Engine } from "../engine/engine.js";
import { type GroupNormOptions, groupNorm } from "../engine/kernels/groupNorm.js";
import { offsetsOf } from "../engine/ragged.js";
import { type GroupNormSetting, groupNorm as reference } from "../reference/groupNorm.js";
import { type Check, firstOf } from "./check.js";
import { close, F32_ROUNDING, sameBits, values, zero } from "./compare.js";
import { Random, withThreads } from "./inputs.js";

const family = "group-norm";

/** Ragged groups: empty, alone, in pairs, constant, with ties, of 5 and of many. */
const lengths = [0, 1, 2, 2, 8, 0, 5, 16, 8, 33, 1];

interface Batch {
  values: Float32Array;
  lengths: readonly number[];
  valid: Uint8Array | null;
}

function batch(
  seed: number,
  options: { shift?: number; masked?: boolean; big?: number } = {},
): Batch {
  const random = new Random(seed);
  const all = options.big === undefined ? lengths : [...lengths, options.big];
  const rows = all.reduce((a, b) => a + b, 0);
  const bounds = offsetsOf(all);
  const rewards = Float32Array.from({ length: rows }, () => (options.shift ?? 0) + random.normal());
  rewards.fill(options.shift ?? 0.3, bounds[4], bounds[5]); // a constant group
  // Graded rewards, as verifiers give them: ties are the rule.
  for (let r = bounds[7]!; r < bounds[8]!; ++r) rewards[r] = Math.fround(random.integer(4) / 3);
  for (let r = bounds[8]!; r < bounds[9]!; ++r) rewards[r] = random.integer(2);
  return { values: rewards, lengths: all, valid: options.masked ? random.mask(rows) : null };
}

function groupsOf(sizes: readonly number[]): number[][] {
  const bounds = offsetsOf(sizes);
  return sizes.map((length, g) => Array.from({ length }, (_, i) => bounds[g]! + i));
}

function optionsOf(setting: GroupNormSetting): Omit<GroupNormOptions, "groupOffsets" | "keys"> {
  const { ddof, ...rest } = setting;
  return setting.scale === "std" ? { ...rest, ddof: ddof as 0 | 1 } : rest;
}

/**
 * "The float64 formula rounded once to float": one rounding of the result, one of eps (a float), and
 * what float64 itself loses where value and centre cancel.
 */
function tolerance(b: Batch, want: Float64Array): (index: number) => number {
  const largest = b.values.reduce((m, x) => (Number.isFinite(x) ? Math.max(m, Math.abs(x)) : m), 1);
  return (i) => 2 * F32_ROUNDING * Math.abs(want[i]!) + 1e-12 * largest;
}

function checkValues(engine: Engine, b: Batch, setting: GroupNormSetting): string | null {
  const got = groupNorm(engine, b.values, {
    ...optionsOf(setting),
    groupOffsets: offsetsOf(b.lengths),
    valid: b.valid,
  });
  const want = reference(b.values, groupsOf(b.lengths), setting, b.valid);
  return close("advantage", values(got.advantage), want, tolerance(b, want));
}

const settings: GroupNormSetting[] = [];
for (const center of ["mean", "median"] as const) {
  for (const scope of ["group", "batch"] as const) {
    settings.push(
      { center, scale: "std", scope, ddof: 1, eps: 1e-4 },
      { center, scale: "std", scope, ddof: 0, eps: 1e-6 },
      { center, scale: "std", scope, ddof: 1, eps: 0 },
      { center, scale: "median-deviation", scope, ddof: 0, eps: 1e-3 },
    );
  }
  settings.push({ center, scale: "none", scope: "group", ddof: 0, eps: 0 });
}
settings.push({ center: "none", scale: "std", scope: "group", ddof: 1, eps: 1e-4 });

function label({ center, scale, scope, ddof, eps }: GroupNormSetting): string {
  return `center ${center}, scale ${scale === "std" ? `std ddof ${ddof}` : scale} of ${scope}, eps ${eps}`;
}

const grpo: GroupNormSetting = { center: "mean", scale: "std", scope: "group", ddof: 1, eps: 1e-4 };
const median: GroupNormSetting = { ...grpo, center: "median", scale: "median-deviation" };

function byKeys(setting: GroupNormSetting): Check {
  return {
    family,
    name: `scattered keys give each row the bits of its contiguous group, center ${setting.center}`,
    run(engine) {
      const b = batch(3);
      const order = new Random(4).permutation(b.values.length);
      const group = groupsOf(b.lengths).flatMap((rows, g) => rows.map(() => g));
      const straight = groupNorm(engine, b.values, {
        ...optionsOf(setting),
        groupOffsets: offsetsOf(b.lengths),
      }).advantage.readSync();
      // Within a group the rows keep their order: sums are in order, and so are the bits.
      const shuffled = [...order].sort((x, y) => (group[x] === group[y] ? x - y : 0));
      const stable = interleave(shuffled, group);
      const scattered = groupNorm(
        engine,
        Float32Array.from(stable, (row) => b.values[row]!),
        {
          ...optionsOf(setting),
          keys: stable.map((row) => `group ${group[row]}`),
        },
      ).advantage.readSync();
      return sameBits(
        "advantage",
        scattered,
        Float32Array.from(stable, (row) => straight[row]!),
      );
    },
  };
}

/** Rows of all groups mixed, each group's own rows in their order. */
function interleave(order: readonly number[], group: readonly number[]): number[] {
  const waiting = new Map<number, number[]>();
  for (const [row, g] of group.entries()) waiting.set(g, [...(waiting.get(g) ?? []), row]);
  return order.map((row) => waiting.get(group[row]!)!.shift()!);
}

export function groupNormChecks(device: Engine["device"]): Check[] {
  const big = device === "emulated" ? 1500 : 5000;
  return [
    ...settings.flatMap((setting): Check[] => [
      { family, name: label(setting), run: (engine) => checkValues(engine, batch(1), setting) },
      {
        family,
        name: `${label(setting)}, some rows invalid`,
        run: (engine) => checkValues(engine, batch(2, { masked: true }), setting),
      },
    ]),
    ...[grpo, median].flatMap((setting): Check[] => [
      byKeys(setting),
      {
        family,
        name: `values of 10,000 +- 1, center ${setting.center}`,
        run: (engine) => checkValues(engine, batch(5, { shift: 1e4 }), setting),
      },
      {
        family,
        name: `a group of ${big}, center ${setting.center}`,
        run: (engine) => checkValues(engine, batch(6, { big }), setting),
      },
      {
        family,
        name: `one and two threads give the same bits, center ${setting.center}`,
        run(engine) {
          const b = batch(7, { big });
          const [one, two] = withThreads(engine, (own) =>
            groupNorm(own, b.values, {
              ...optionsOf(setting),
              scope: "batch",
              groupOffsets: offsetsOf(b.lengths),
            }).advantage.readSync(),
          );
          return sameBits("advantage", one, two);
        },
      },
      {
        family,
        name: `NaN in invalid rows changes no bit, center ${setting.center}`,
        run(engine) {
          const b = batch(8, { masked: true });
          const dirty = b.values.map((x, i) => (b.valid![i] === 0 ? Number.NaN : x));
          const [clean, got] = [b.values, dirty].map((rewards) =>
            groupNorm(engine, rewards, {
              ...optionsOf(setting),
              scope: "batch",
              groupOffsets: offsetsOf(b.lengths),
              valid: b.valid,
            }).advantage.readSync(),
          );
          return sameBits("advantage", got!, clean!);
        },
      },
    ]),
    {
      family,
      name: "constant groups and groups of one are exactly 0",
      run(engine) {
        // 0.1 + 0.1 + 0.1 is not 3 * 0.1: a mean computed by summing would leave a residue.
        const rewards = Float32Array.of(0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 7, -3e8, -3e8);
        const findings = settings.map((setting) => {
          const { advantage } = groupNorm(engine, rewards, {
            ...optionsOf(setting),
            groupOffsets: [0, 7, 8, 10],
          });
          return zero(label(setting), values(advantage));
        });
        return firstOf(...findings);
      },
    },
    {
      family,
      name: "a single valid reward gives 0, its group's centre is itself",
      run(engine) {
        const got = groupNorm(engine, [5, 1, 9], { groupOffsets: [0, 3], valid: [0, 1, 0] });
        return firstOf(
          zero("advantage", values(got.advantage)),
          close("center", values(got.center), [1], 0),
          zero("scale", values(got.scale)),
        );
      },
    },
    {
      family,
      name: "all rows invalid: zeros",
      run(engine) {
        const got = groupNorm(engine, [Number.NaN, 1, 2], {
          groupOffsets: [0, 2, 3],
          valid: [0, 0, 0],
        });
        return firstOf(...Object.entries(got).map(([name, tensor]) => zero(name, values(tensor))));
      },
    },
    {
      family,
      name: "no rows, and groups without rows",
      run(engine) {
        const none = groupNorm(engine, [], { groupOffsets: [0] });
        const empty = groupNorm(engine, [], { groupOffsets: [0, 0, 0] });
        return firstOf(
          close("advantage", values(none.advantage), [], 0),
          close("center", values(none.center), [], 0),
          zero("center of an empty group", values(empty.center)),
          zero("scale of an empty group", values(empty.scale)),
        );
      },
    },
    {
      family,
      name: "center and scale are reported",
      run(engine) {
        const got = groupNorm(engine, [1, 2, 3, 6, 4, 4], { groupOffsets: [0, 4, 6], ddof: 0 });
        return firstOf(
          close("center", values(got.center), [3, 4], 0),
          close("scale", values(got.scale), [Math.sqrt(3.5), 0], 2e-7),
        );
      },
    },
    {
      family,
      name: "median deviation 0 with unequal values divides by eps, and gives 0 with eps 0",
      run(engine) {
        const ask = (eps: number) =>
          values(
            groupNorm(engine, [1, 0, 0, 0, 0], {
              groupOffsets: [0, 5],
              center: "median",
              scale: "median-deviation",
              eps,
            }).advantage,
          );
        return firstOf(
          close("advantage with eps 1e-3", ask(1e-3), [1000, 0, 0, 0, 0], 2e-4),
          zero("advantage with eps 0", ask(0)),
        );
      },
    },
  ];
}
