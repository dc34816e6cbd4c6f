/** Valid arguments of what computes without an engine: verifiers, statistics, systems, questions. */
import { atEnd, namedSystem, namedTask, naturalLanguage } from "../../../dist/index.js";
import { question } from "./rollouts.mjs";

const answers = ["42", "\\boxed{\\frac{1}{2}}", "x^2+1", "1,234.5 %", "(A)", "no answer", "#### 7"];
const completion = (w) => [w.pick(answers)];
const of = (self, ...args) => ({ self, args });
const english = () => ({ ...naturalLanguage });

export const pure = {
  klHinge: () => [0.3, { beta: 0.1, delta: 0.2 }],
  "verifiers.choice": (w) => [w.pick(answers), "A", ["yes", "no"]],
  "verifiers.chosenLetter": (w) => [w.pick(answers), ["yes", "no"]],
  "verifiers.exact": (w) => [w.pick(answers), "42"],
  "verifiers.fillIn": (w) => [
    "1;2",
    ["1", ["2", "two"]],
    { separator: ";", credit: w.pick(["all", "share"]), blank: () => 1 },
  ],
  "verifiers.firstBoxed": completion,
  "verifiers.lastBoxed": completion,
  "verifiers.math": (w) => [w.pick(answers), w.pick(answers)],
  "verifiers.numeric": (w) => [
    w.pick(answers),
    w.pick(["42", 42]),
    { absolute: 0.1, relative: 0.1, units: ["%"] },
  ],
  "verifiers.verified": (w) => [
    w.pick([
      { verifier: "numeric", answer: "last-boxed", numeric: { absolute: 1 } },
      { verifier: "fill-in", fillIn: { separator: ";" } },
      { verifier: "choice", optionsColumn: "options" },
      { verifier: () => 1, answer: () => "x" },
    ]),
  ],
  ...Object.fromEntries(
    ["text", "first-boxed", "last-boxed", "last-line", "after-hashes", "last-number"].map(
      (name) => [`verifiers.extractions.${name}`, completion],
    ),
  ),
  "naturalLanguage.quoted": () => [question()],
  "naturalLanguage.answer": (w) => [w.pick(answers), w.pick(["pointwise", "pairwise", undefined])],
  meanInterval: (w) => [[1, 2, 3], w.pick([0.9, 0.95])],
  tQuantile: (w) => [w.pick([0.1, 0.975]), w.pick([1, 3, 30])],
  passAtK: () => [8, 3, 2],
  majorityVote: () => [["1", "2", null, "1"]],
  printSystem: (w) => [namedSystem(w.pick(["grpo", "spark", "flow-grpo"]))],
  systemBlocks: (w) => [namedSystem(w.pick(["grpo", "spark"]))],
  namedSystem: (w) => [w.pick(["grpo", "spark"])],
  namedTask: () => ["arithmetic"],
  namedClaim: () => ["spark"],
  sparkSystem: (w) => [w.pick([{}, { balanced: true }, { ablation: "policy-only" }])],
  defineSystem: (w) => {
    const { id, title, arxiv, evidence, phases } = namedSystem(w.pick(["grpo", "spark", "dapo"]));
    const head = { id, title, arxiv, evidence };
    const whole = phases.map((phase) => ({ ...phase }));
    return [
      w.chance(0.5)
        ? { ...head, phases: whole }
        : { ...head, loss: whole[0].loss, advantage: whole[0].advantage },
    ];
  },
  fromTRL: (w) => [
    {
      loss_type: "grpo",
      num_generations: 8,
      beta: 0.1,
      learning_rate: 1e-6,
      scale_rewards: "group",
      epsilon: 0.2,
    },
    ...(w.chance(0.5) ? [{ rewards: ["correct"] }] : []),
  ],
  tinyConfig: (w) => [16, ...(w.chance(0.5) ? [shape()] : [])],
  flowConfig: () => [{ kind: "flow", width: 2, conditionWidth: 2, hidden: 8, layers: 1 }],
  CharTokenizer: (w) => w.pick([["0123456789+="], [["a", "b", null], 2], ["abc", 0]]),
  mixTasks: (w) => [
    [
      { task: namedTask("arithmetic"), weight: 2 },
      { task: { ...namedTask("arithmetic"), id: "second" } },
    ],
    ...(w.chance(0.5) ? ["mixed"] : []),
  ],
  pointwiseQuestion: () => [english(), question(), 0, { answer: "2", right: true }],
  pairwiseQuestion: () => [english(), question(), 0, { right: "2", wrong: "3", rightIsA: true }],
  reflectionQuestion: (w) => [
    english(),
    question(),
    0,
    w.pick([{ trace: "1+1=3" }, { answer: "3" }]),
  ],
  atEnd: () => ["eval/accuracy", "higher"],
  overRun: () => ["eval/accuracy", "lower"],
  exceeds: () => [{ arm: "a", baselines: ["b"], measure: atEnd("eval/accuracy"), by: 0 }],
  allOf: () => [() => [], () => []],
  "CharTokenizer#vocabularySize": (w) => of(tokenizerOf(w)),
  "CharTokenizer#encode": (w) => of(tokenizerOf(w), "1+1="),
  "CharTokenizer#decode": (w) => of(tokenizerOf(w), Int32Array.of(1, 2, 3)),
};

import { CharTokenizer } from "../../../dist/index.js";

function tokenizerOf() {
  return new CharTokenizer("0123456789+= ");
}

export function shape() {
  return { layers: 1, width: 8, heads: 2, kvHeads: 1, hidden: 8 };
}
