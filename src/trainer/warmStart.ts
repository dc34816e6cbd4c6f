import type { PolicyRow } from "../contract/policy.js";
import type { WarmStartStage } from "../contract/task.js";
import { tensorOf } from "../engine/device.js";
import type { Tensor } from "../engine/tensor.js";
import { tokenized } from "./prompts.js";
import { uniformAt } from "./random.js";
import type { Run } from "./run.js";

/** The learning rate at a step of a stage: linear between its corners, constant beyond. */
export function rateAt(corners: WarmStartStage["learningRate"], step: number): number {
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
 * One supervised step: cross entropy over the completions, mean over tokens.
 *
 * @returns the loss where `measure` asks for it, else null
 */
export async function warmStartStep(run: Run, measure: boolean): Promise<number | null> {
  const { settings, task, progress, models, optimizers } = run;
  const at = warmStartAt(task.warmStart, progress.warmStartStep)!;
  const uniform = uniformAt(settings.seed, "warmStart", progress.warmStartStep);
  const tokenizer = models.policy!.tokenizer!;
  const rows = Array.from({ length: at.stage.batchSize }, (): PolicyRow => {
    const { question, completion } = at.stage.draw(uniform);
    const ids = Int32Array.from([...tokenizer.encode(completion), tokenizer.endOfSequence]);
    const actions = { kind: "tokens" as const, length: ids.length, ids };
    return { prompt: tokenized(question, tokenizer), actions };
  });
  const optimizer = optimizers.policy!;
  optimizer.zeroGrad();
  const forward = models.policy!.forward(rows);
  const tokens = forward.rowOffsets.at(-1)!;
  const loss = measure ? await meanLoss(tensorOf(forward.logProb, "logProb")) : null;
  const gradient = run.engine.tensor(new Float32Array(tokens).fill(-1 / tokens));
  forward.backward({ logProb: gradient });
  gradient.dispose();
  optimizer.step(rateAt(at.stage.learningRate, at.within));
  progress.warmStartStep += 1;
  return loss;
}

async function meanLoss(logProb: Tensor): Promise<number> {
  const values = (await logProb.read()) as Float32Array;
  return -values.reduce((sum, value) => sum + value, 0) / values.length;
}
