// A system in one file: a block of one's own beside those of firesteel/blocks.
// Run: node custom-system.mjs
import { defineSystem, printSystem, tasks, train } from "firesteel";
import {
  dropZeroVariance,
  mapRows,
  option,
  parseOptions,
  surrogate,
  withColumn,
} from "firesteel/blocks";

/** The pure function: ranks from -1 (least) to 1 (greatest). Equal values share the middle of theirs. */
function centredRanks(values) {
  const below = (value) => values.filter((other) => other < value).length;
  const above = (value) => values.filter((other) => other > value).length;
  return values.map((value) => (below(value) - above(value)) / Math.max(1, values.length - 1));
}

/** The block: advantages are ranks within the group, so how far a reward lies above the others does not matter. */
function rankAdvantage(options = {}) {
  const shape = { scale: option.number(1, { above: 0 }, "largest advantage") };
  const { values, described } = parseOptions("rankAdvantage", shape, options);
  return {
    block: "rankAdvantage",
    options: described,
    run: (groups) =>
      groups.flatMap((group) => {
        const ranks = centredRanks(group.trajectories.map(({ reward }) => reward ?? 0));
        return mapRows([group], (trajectory, row) =>
          withColumn(trajectory, "advantage", { level: "row", value: values.scale * ranks[row] }),
        );
      }),
  };
}

const system = defineSystem({
  id: "rank-grpo",
  title: "Ranks instead of normalised rewards",
  arxiv: null,
  evidence: "low",
  filter: dropZeroVariance(),
  advantage: rankAdvantage({ scale: 1.5 }),
  loss: [surrogate({ form: "clip", epsilon: 0.2, aggregation: "token-mean" })],
});
console.log(printSystem(system));

// A shorter warm start than the task's own, so that the run takes seconds.
const [correct, blurred] = tasks.arithmetic.warmStart;
const warmStart = [
  { ...correct, steps: 350 },
  { ...blurred, steps: 60 },
];
const { start, metrics } = await train({
  system,
  task: { ...tasks.arithmetic, warmStart, evaluations: {} },
  seed: 1,
  device: "cpu",
  steps: 25,
  learningRate: 5e-4,
  evalSteps: null, // only before the first step and after the last
});
const [before, after] = [start, metrics].map((m) => m["eval/accuracy"].toFixed(2));
console.log(`right answers: ${before} before, ${after} after 25 steps`);
