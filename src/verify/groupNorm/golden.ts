// Values worked out by hand or printed in the golden cases of published systems: they hold the reference
// to account as much as the kernel.
import type { Engine } from "../../engine/engine.js";
import { type GroupNormOptions, groupNorm } from "../../engine/kernels/groupNorm.js";
import { offsetsOf } from "../../engine/ragged.js";
import { type Check, firstOf } from "../check.js";
import { close, values } from "../compare.js";
import { family } from "./batch.js";

/** Rewards by group, each a number or one for every column. */
type Rewards = readonly (readonly (number | readonly number[])[])[];

interface Golden {
  /** Of the system or library, and the golden case where there is one. */
  name: string;
  rewards: Rewards;
  options: Omit<GroupNormOptions, "groupOffsets">;
  advantage: Rewards;
}

const population = { ddof: 0, eps: 0 } as const;

const cases: Golden[] = [
  {
    name: "GRPO (grpo_adv)",
    rewards: [[1, 0, 0, 0]],
    options: { eps: 0 },
    advantage: [[1.5, -0.5, -0.5, -0.5]],
  },
  {
    name: "one std of the batch (grpo_adv_batchstd)",
    rewards: [
      [1, 0],
      [1, 0],
    ],
    options: { scope: "batch", eps: 0 },
    advantage: [
      [0.8660254037844386, -0.8660254037844386],
      [0.8660254037844386, -0.8660254037844386],
    ],
  },
  {
    // Mean 3, times 4/3.
    name: "RLOO (rloo_adv)",
    rewards: [[3, 1, 2, 6]],
    options: { center: "leave-one-out", scale: "none" },
    advantage: [[0, -8 / 3, -4 / 3, 4]],
  },
  {
    // Others of 0: 1, 2, 5 with mean 8/3 and variance 13/3; of 1: 7/3 and 19/3; of 2: 2 and 7; of 5: 1, 1.
    name: "NeMo-RL, mean and std of the others",
    rewards: [[0, 1, 2, 5]],
    options: { center: "leave-one-out", scale: "leave-one-out-std", eps: 0 },
    advantage: [[-8 / 3 / Math.sqrt(13 / 3), -4 / 3 / Math.sqrt(19 / 3), 0, 4]],
  },
  {
    name: "NeMo-RL, a success beside equal others is only centred",
    rewards: [[1, 0, 0, 0]],
    options: { center: "leave-one-out", scale: "leave-one-out-std", eps: 0, zeroScale: "one" },
    advantage: [[1, -Math.sqrt(1 / 3), -Math.sqrt(1 / 3), -Math.sqrt(1 / 3)]],
  },
  {
    // The mean of the others of two is the other one, without spread.
    name: "NeMo-RL, a pair has no std of others",
    rewards: [[4, 1]],
    options: { center: "leave-one-out", scale: "leave-one-out-std", zeroScale: "one" },
    advantage: [[3, -3]],
  },
  {
    // 1, 2, 3, 4 count: variance 5/3 with ddof 1.
    name: "verl's whitening over trained tokens (masked_whiten)",
    rewards: [[1, 2, 3, 4, 9, 9]],
    options: { valid: [1, 1, 1, 1, 0, 0], epsPlacement: "inside", eps: 1 / 3 },
    advantage: [[-1.5, -0.5, 0.5, 1.5, 0, 0].map((x) => x / Math.SQRT2)],
  },
  {
    name: "OpenRLHF's whitening over trained tokens (masked_whiten, floor not reached)",
    rewards: [[1, 2, 3, 4, 9, 9]],
    options: { valid: [1, 1, 1, 1, 0, 0], epsPlacement: "floor", ddof: 0, eps: 1e-8 },
    advantage: [[-1.5, -0.5, 0.5, 1.5, 0, 0].map((x) => x / Math.sqrt(1.25))],
  },
  {
    name: "OpenRLHF's whitening over trained tokens (masked_whiten, at the floor)",
    rewards: [[1, 2, 3, 4]],
    options: { epsPlacement: "floor", ddof: 0, eps: 4 },
    advantage: [[-0.75, -0.25, 0.25, 0.75]],
  },
  {
    name: "TempFlow-GRPO, keys of seed and branch step (group_advantage)",
    rewards: [[1, 3, 5, 5]],
    options: { keys: ["s1 0", "s1 0", "s1 3", "s1 3"], ddof: 0, eps: 0.5 },
    advantage: [[-2 / 3, 2 / 3, 0, 0]],
  },
  {
    name: "MC-GRPO (mcgrpo)",
    rewards: [[0, 0.5, 2]],
    options: { center: "median", scale: "median-deviation", eps: 0 },
    advantage: [[-1, 0, 3]],
  },
  {
    name: "Con-RAG, each paraphrase's own rollouts (psgrpo_adv)",
    rewards: [
      [0.5, 0.5],
      [1, 0],
    ],
    options: { ddof: 0, eps: 0.5 },
    advantage: [
      [0, 0],
      [0.5, -0.5],
    ],
  },
  {
    name: "TurningPoint-GRPO, denoising steps as columns (tpgrpo_adv)",
    rewards: [
      [
        [-0.1, 1],
        [0.1, 1],
      ],
    ],
    options: { ddof: 0 },
    advantage: [
      [
        [-0.999000999, 0],
        [0.999000999, 0],
      ],
    ],
  },
  {
    name: "Rank-GRPO, ranks as columns (rankgrpo_advantages)",
    rewards: [
      [
        [1, 0],
        [0, 0],
      ],
    ],
    options: {},
    advantage: [
      [
        [0.7070067953, 0],
        [-0.7070067953, 0],
      ],
    ],
  },
  {
    name: "stage-structured GRPO, stages as columns (ss_grpo)",
    rewards: [
      [
        [1, 0, 0, 0],
        [0.8, 0.8, 0.8, 1],
      ],
    ],
    options: population,
    advantage: [
      [
        [1, -1, -1, -1],
        [-1, 1, 1, 1],
      ],
    ],
  },
  {
    name: "DGPO (dgpo)",
    rewards: [
      [1, 0, 0, 0],
      [1, 1, 1, 0],
    ],
    options: { scale: "mean-deviation", eps: 0 },
    advantage: [
      [2, -2 / 3, -2 / 3, -2 / 3],
      [2 / 3, 2 / 3, 2 / 3, -2],
    ],
  },
  {
    name: "range",
    rewards: [[1, 2, 4]],
    options: { scale: "range", eps: 0 },
    advantage: [[-4 / 9, -1 / 9, 5 / 9]],
  },
  {
    // 3/4 of the mean 2 and 1/4 of 4.
    name: "a running mean blended into the centre",
    rewards: [[1, 3]],
    options: { center: "ema", ema: 4, emaBlend: 0.25, scale: "none" },
    advantage: [[-1.5, 0.5]],
  },
  {
    // Stds 1 and 2 of the groups, sqrt(2.75) of the batch.
    name: "group's and batch's std blended",
    rewards: [
      [0, 2],
      [0, 4],
    ],
    options: { ...population, scope: "blend", scopeBlend: 0.5 },
    advantage: [
      [-1, 1].map((x) => x / (0.5 + 0.5 * Math.sqrt(2.75))),
      [-2, 2].map((x) => x / (1 + 0.5 * Math.sqrt(2.75))),
    ],
  },
  {
    name: "a group of one as in verl",
    rewards: [[3], [1, 0]],
    options: { singleton: "value", ...population, eps: 0.5 },
    advantage: [[2], [0.5, -0.5]],
  },
];

/** The printed values have seven digits; rewards and results are floats. */
const near = (what: string, got: ArrayLike<number>, want: readonly number[]) =>
  close(what, got, want, (i) => 1e-6 * Math.max(1, Math.abs(want[i]!)));

/** Advantages of rewards by group, flat. */
function ask(engine: Engine, rewards: Rewards, options: Golden["options"]): Float64Array {
  const rows = rewards.flat();
  const columns = Array.isArray(rows[0]) ? rows[0].length : null;
  const flat = rows.flat() as number[];
  const data = columns === null ? flat : engine.tensor(flat, [rows.length, columns]);
  const groups =
    options.keys === undefined ? { groupOffsets: offsetsOf(rewards.map((g) => g.length)) } : {};
  return values(groupNorm(engine, data, { ...options, ...groups }).advantage);
}

function golden({ name, rewards, options, advantage }: Golden): Check {
  return {
    family,
    name: `published: ${name}`,
    run(engine) {
      const want = advantage.flat().flat() as number[];
      return near("advantage", ask(engine, rewards, options), want);
    },
  };
}

/** Two calls and a sum. */
const composed: Check[] = [
  {
    family,
    name: "published: GDPO, each reward by itself, their sum over the batch (gdpo)",
    run(engine) {
      const rewards = [
        [
          [1, 1],
          [0, 0],
        ],
        [
          [1, 1],
          [0, 1],
        ],
      ];
      const each = ask(engine, rewards, { eps: 0 });
      const sums = [0, 2, 4, 6].map((i) => each[i]! + each[i + 1]!);
      const want = [1.0954451, -1.0954451, 0.5477226, -0.5477226];
      return near("advantage", ask(engine, [sums], { eps: 0 }), want);
    },
  },
  {
    family,
    name: "published: Stratified GRPO, own stratum and whole group in halves (stratified)",
    run(engine) {
      const rewards = [[1, 0, 1, 1, 0]];
      const own = ask(engine, rewards, { ...population, keys: [0, 0, 1, 1, 2] });
      const whole = ask(engine, rewards, population);
      return firstOf(
        near(
          "advantage",
          own.map((a, i) => 0.5 * a + 0.5 * whole[i]!),
          [0.9082482905, -1.1123724357, 0.4082482905, 0.4082482905, -0.6123724357],
        ),
      );
    },
  },
];

/** One group, unless groupOffsets are given. */
const groups: [name: string, rewards: number[], GroupNormOptions, advantage: number[]][] = [
  ["sample std", [1, 0, 0, 0], { eps: 0 }, [1.5, -0.5, -0.5, -0.5]],
  [
    "population std",
    [1, 0, 0, 0],
    { ddof: 0, eps: 0 },
    [1.73205080756888, -0.577350269189626, -0.577350269189626, -0.577350269189626],
  ],
  ["mean only", [3, 1, 2, 6], { scale: "none" }, [0, -2, -1, 3]],
  ["eps beside the scale", [1, 0, 0, 0], { eps: 0.25 }, [1, -1 / 3, -1 / 3, -1 / 3]],
  [
    "median deviation",
    [0, 0.5, 2],
    { center: "median", scale: "median-deviation", eps: 0 },
    [-1, 0, 3],
  ],
  [
    "lower median of an even count",
    [4, 1, 3, 2],
    { center: "median", scale: "none" },
    [2, -1, 1, 0],
  ],
  [
    // Group means 1 and 10, std of all four about their mean 5.5: sqrt((25+9+12.25+30.25) / 3).
    "group means, one std of the batch",
    [0.5, 1.5, 9, 11],
    { scope: "batch", eps: 0, groupOffsets: [0, 2, 4] },
    [-0.0947736035409845, 0.0947736035409845, -0.189547207081969, 0.189547207081969],
  ],
];

function byHand([name, rewards, options, advantage]: (typeof groups)[number]): Check {
  return {
    family: "group-norm",
    name: `by hand: ${name}`,
    run(engine) {
      const got = groupNorm(engine, rewards, { groupOffsets: [0, rewards.length], ...options });
      return close("advantage", values(got.advantage), advantage, 2e-7 * 4);
    },
  };
}

export function groupNormGoldenChecks(): Check[] {
  return [...cases.map(golden), ...groups.map(byHand), ...composed];
}
