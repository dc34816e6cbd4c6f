import type { Engine, FaultReport } from "../../engine/engine.js";
import { groupNorm } from "../../engine/kernels/groupNorm.js";
import type { GroupNormSetting } from "../../reference/groupNorm.js";
import { type Check, firstOf } from "../check.js";
import { close, sameBits, values, zero } from "../compare.js";
import { faultsOf } from "../inputs.js";
import { batch, checkValues, combinations, family, grpo, label, optionsOf } from "./batch.js";
import { settings } from "./bits.js";

const oneGroup = (rows: number) => ({ groupOffsets: [0, rows] });
const othersOut = { ...grpo, center: "leave-one-out", scale: "leave-one-out-std" } as const;

const zeroChecks: Check[] = [
  {
    family,
    name: "constant groups and groups of one are exactly 0, whatever the options",
    run(engine) {
      // 0.1 + 0.1 + 0.1 is not 3 * 0.1: a mean computed by summing would leave a residue.
      const rewards = Float32Array.of(0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 7, -3e8, -3e8, 1, 2);
      const groupOffsets = [0, 7, 8, 10, 12];
      return firstOf(
        ...combinations.map((setting) => {
          const given = { ...optionsOf(setting, 0.7), groupOffsets };
          const { advantage } = groupNorm(engine, rewards, given);
          return zero(label(setting), values(advantage).subarray(0, 10));
        }),
      );
    },
  },
  {
    family,
    name: "a single valid reward gives 0, its group's centre is itself",
    run(engine) {
      const got = groupNorm(engine, [5, 1, 9], { ...oneGroup(3), valid: [0, 1, 0] });
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
      const given = { groupOffsets: [0, 2, 3], valid: [0, 0, 0] };
      const kept = { ...given, singleton: "value", center: "ema", ema: [3, 4] } as const;
      return firstOf(
        ...[given, kept].flatMap((options) =>
          Object.entries(groupNorm(engine, [Number.NaN, 1, 2], options)).map(([name, tensor]) =>
            zero(name, values(tensor)),
          ),
        ),
      );
    },
  },
  {
    family,
    name: "no rows, no columns, and groups without rows",
    run(engine) {
      const none = groupNorm(engine, [], { groupOffsets: [0] });
      const empty = groupNorm(engine, [], { groupOffsets: [0, 0, 0], scope: "batch" });
      const narrow = groupNorm(engine, engine.zeros([2, 0]), oneGroup(2));
      const short = groupNorm(engine, engine.zeros([0, 2]), { keys: [] });
      return firstOf(
        ...[none, narrow, short].flatMap(({ advantage, center }) => [
          close("advantage", values(advantage), [], 0),
          close("center", values(center), [], 0),
        ]),
        close("center of an empty group", values(empty.center), [0, 0], 0),
        close("scale of an empty group", values(empty.scale), [0, 0], 0),
      );
    },
  },
  {
    family,
    name: "median deviation 0 with unequal values divides by eps, and gives 0 with eps 0",
    run(engine) {
      const given = { ...oneGroup(5), center: "median", scale: "median-deviation" } as const;
      const ask = (eps: number) =>
        values(groupNorm(engine, [1, 0, 0, 0, 0], { ...given, eps }).advantage);
      return firstOf(
        close("advantage with eps 1e-3", ask(1e-3), [1000, 0, 0, 0, 0], 2e-4),
        zero("advantage with eps 0", ask(0)),
      );
    },
  },
  {
    family,
    // Taken off the sum of all squares, equal others would leave noise: NeMo-RL met advantages of 7,000.
    name: "the std of equal others is exactly 0",
    run(engine) {
      const findings = [0.1, 0.35, 1e-20, 3e8].map((reward) => {
        const rewards = Float32Array.of(reward, reward, reward, reward, reward, reward, reward, 0);
        const given = { ...optionsOf(othersOut, 0), eps: 0, ...oneGroup(8) };
        const { advantage } = groupNorm(engine, rewards, given);
        return zero(`advantage beside others of ${reward}`, values(advantage).subarray(7));
      });
      return firstOf(...findings);
    },
  },
  {
    family,
    name: "the std of others beside an outlier has all its digits",
    run(engine) {
      const b = batch({ seed: 11 });
      const outliers = b.values.map((x, i) => (i % 8 === 7 ? 1e6 * (1 + x) : x));
      return checkValues(engine, { ...b, values: outliers }, { ...othersOut, eps: 0 });
    },
  },
];

/** Two groups of three rows, two columns. */
const twoByThree = [1, 2, 3, 5, 2, 0, 4, 4, 9, 1, 7, 3];

/** The first group's second column is NaN, the rest has the bits it should have. */
function spoiled(got: ArrayLike<number>, want: ArrayLike<number>): string | null {
  const wrong = [1, 3, 5];
  const number = wrong.find((i) => !Number.isNaN(got[i]));
  if (number !== undefined) return `advantage[${number}]: ${got[number]} instead of NaN`;
  const rest = (x: ArrayLike<number>) => Float32Array.from(x).filter((_, i) => !wrong.includes(i));
  return sameBits("the rest", rest(got), rest(want));
}

function reported(faults: FaultReport[], row: number): string | null {
  const got = faults.map(({ kind, count, firstRow }) => `${kind} ${count} ${firstRow}`).join();
  return got === `not-a-number 1 ${row}` ? null : `faults: ${got || "none"}`;
}

function valueFault(bad: number, setting: GroupNormSetting): Check {
  return {
    family,
    name: `${bad} makes its group's column NaN and is reported, the rest keeps its bits, ${label(setting)}`,
    run(engine) {
      const rewards = twoByThree.map((x, i) => (i === 3 ? bad : x));
      const ask = (own: Engine, valid: Uint8Array | null) =>
        groupNorm(own, own.tensor(rewards, [6, 2]), {
          ...optionsOf(setting, 0.5),
          groupOffsets: [0, 3, 6],
          valid,
        }).advantage.readSync();
      // As where it is missing: it leaves the batch's scale.
      const missing = ask(
        engine,
        Uint8Array.from(rewards, (_, i) => (i === 3 ? 0 : 1)),
      );
      const { finding, faults } = faultsOf(engine, (own) => spoiled(ask(own, null), missing));
      return finding ?? reported(faults, 1);
    },
  };
}

const emaFault: Check = {
  family,
  name: "an EMA that is NaN makes its group's column NaN and is reported, the rest keeps its bits",
  run(engine) {
    // Also where the values are equal and need no EMA: a bug of the caller's does not hide by luck.
    const rewards = twoByThree.map((x, i) => (i === 1 || i === 3 || i === 5 ? 2 : x));
    const ask = (own: Engine, ema: number) =>
      groupNorm(own, own.tensor(rewards, [6, 2]), {
        groupOffsets: [0, 3, 6],
        center: "ema",
        ema: own.tensor([0, ema, 0, 1], [2, 2]),
      }).advantage.readSync();
    const { finding, faults } = faultsOf(engine, (own) =>
      spoiled(ask(own, Number.NaN), ask(engine, 2)),
    );
    return finding ?? reported(faults, 0);
  },
};

export function groupNormEdgeChecks(): Check[] {
  return [
    ...zeroChecks,
    ...[Infinity, -Infinity].map((bad) => valueFault(bad, grpo)),
    ...settings.map((setting) => valueFault(Number.NaN, setting)),
    emaFault,
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
  ];
}
