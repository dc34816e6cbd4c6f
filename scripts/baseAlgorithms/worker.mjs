// Trains one recipe with one seed on one thread, for each message; answers with its curve.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { systems, train } from "../../dist/index.js";
import { budget, preparations, reference } from "./recipes.mjs";

const quiet = { device: "cpu", threads: 1, onWarning: () => {} };

/** The folder of a task's policy after its warm start. */
async function warmStart({ task, seed, folder }) {
  const out = join(folder, `${task}-${seed}`);
  const policy = join(out, "checkpoint-0", "policy");
  if (existsSync(policy)) return policy;
  // Any system of the task's kind will do: none of its steps is taken.
  const system =
    task === systems[reference].task
      ? reference
      : Object.values(systems).find((s) => s.task === task);
  await train({ ...quiet, system, task, seed, steps: 0, evalSamples: 1, out });
  return policy;
}

async function run({ id, seed, folder }) {
  const system = systems[id];
  const policy = await warmStart({ task: system.task, seed, folder });
  const { steps, evalSteps } = budget;
  const options = { ...quiet, task: system.task, policy, seed, steps };
  const own = join(folder, `${id}-${seed}`);
  const prepared = (await preparations[id]?.({ train, options, folder: own })) ?? {};
  const curve = { steps: [], values: [] };
  let [seconds, tokens, metric] = [0, 0, null];
  await train({
    ...{ ...options, ...prepared, system: id, evalSteps },
    onStep({ step, metrics }) {
      metric ??= Object.keys(metrics)[0]; // the evaluation before the first step has nothing else
      if ((metrics[metric] ?? null) !== null) {
        curve.steps.push(step);
        curve.values.push(metrics[metric]);
      }
      seconds += metrics.step_time ?? 0;
      tokens = metrics.num_tokens ?? tokens;
    },
  });
  return { id, seed, task: system.task, metric, ...curve, seconds, tokens };
}

process.on("message", async (job) => {
  try {
    process.send(job.warm ? { warm: await warmStart(job) } : { run: await run(job) });
  } catch (error) {
    process.send({ error: `${job.id ?? job.task}, seed ${job.seed}: ${error.stack ?? error}` });
  }
});
