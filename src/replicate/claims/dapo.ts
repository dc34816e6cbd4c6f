import type { Claim } from "../claim.js";
import { exceeds } from "../compare.js";
import { atEnd, overRun } from "../measures.js";

const learned = overRun("eval/accuracy");

/** DAPO, section 3.2: with dynamic sampling the same accuracy is reached in fewer steps. */
export const dapo: Claim = {
  id: "dapo",
  claim: "Per optimiser step DAPO learns faster than GRPO",
  baseline:
    "GRPO with the same rollouts per update and as many updates; DAPO samples more to fill them",
  arms: [
    { name: "dapo", system: "dapo" },
    { name: "grpo", system: "grpo" },
  ],
  settings: { steps: 20, evalSteps: 2 },
  measure: learned,
  reported: [atEnd("eval/accuracy"), atEnd("num_tokens", "lower"), overRun("filter/kept")],
  judge: exceeds({ arm: "dapo", baselines: ["grpo"], measure: learned, by: 0 }),
};
