/** The three: state of a curriculum and a reference policy, neither, a value head. */
export const systems = ["spark-balanced", "grpo", "ppo"];

/** Of a run that takes a second and writes all that a run can write. */
export const settings = {
  promptsPerStep: 2,
  numGenerations: 4,
  evalSamples: 1,
  evalSteps: 2,
  steps: 6,
  keepCheckpoints: 2,
  keepBest: true,
  device: "cpu",
  threads: 1,
};

/** Not of the run: a resumed one is given them again. */
export const recorders = { recordRollouts: 2, tensorboard: true, report: true };
