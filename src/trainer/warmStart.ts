import type { WarmStartStage } from "../contract/task.js";
import { tokenized } from "./prompts.js";
import { streamAt, uniformAt } from "./random.js";
import type { Run } from "./run.js";

/** The learning rate at a step of a stage: linear between its corners, constant beyond. */
function rateAt(corners: WarmStartStage["learningRate"], step: number): number {
  const next = corners.findIndex((corner) => corner.step > step);
  if (next === -1) return corners.at(-1)!.rate;
  if (next === 0) return corners[0]!.rate;
  const [a, b] = [corners[next - 1]!, corners[next]!];
  return a.rate + ((b.rate - a.rate) * (step - a.step)) / (b.step - a.step);
}

/** The stage and the step within it at which a warm start stands; null when it is over. */
export function warmStartAt(
  stages: readonly WarmStartStage[],
  step: number,
): { stage: WarmStartStage; within: number } | null {
  let within = step;
  for (const stage of stages) {
    if (within < stage.steps) return { stage, within };
    within -= stage.steps;
  }
  return null;
}

/**
 * One supervised step, with the loss that the policy has for demonstrations.
 *
 * @returns the loss where `measure` asks for it, else null
 */
export async function warmStartStep(run: Run, measure: boolean): Promise<number | null> {
  const { settings, task, progress, models, optimizers } = run;
  const at = warmStartAt(task.warmStart, progress.warmStartStep)!;
  const uniform = uniformAt(settings.seed, "warmStart", progress.warmStartStep);
  const stream = streamAt(settings.seed, "imitation", progress.warmStartStep);
  const policy = models.policy!;
  const batch = Array.from({ length: at.stage.batchSize }, () => {
    const demonstration = at.stage.draw(uniform);
    return { ...demonstration, question: tokenized(demonstration.question, policy.tokenizer) };
  });
  const optimizer = optimizers.policy!;
  optimizer.zeroGrad();
  const loss = await policy.imitate(batch, { stream, measure });
  optimizer.step(rateAt(at.stage.learningRate, at.within));
  progress.warmStartStep += 1;
  return loss;
}
