import type { Column, Trajectory } from "../contract/data.js";
import type { Measurer } from "../contract/metrics.js";
import type { Policy } from "../contract/policy.js";
import type { RandomStream, SamplePlan, SampleRequest, Sampler } from "../contract/sampler.js";
import type { StepContext } from "../contract/stage.js";
import type { Phase } from "../contract/system.js";
import { checkChoice } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import { nameIds } from "../nn/random.js";
import { demonstration } from "./demonstration.js";
import { continuation, continued } from "./fork.js";
import { epochOf, nextPrompts, tokenized } from "./prompts.js";
import { streamAt, uniformAt } from "./random.js";
import { fromSampler, type Run, unlessAborted } from "./run.js";
import { scoreRows } from "./scores.js";
import { fresh } from "./staleness.js";
import { taskForms } from "./taskForms.js";

/** What the stages of one phase can reach in one step. */
export function stepContext(run: Run, phase: Phase, step: number, measure: Measurer): StepContext {
  const { settings, task, models } = run;
  const phaseIndex = run.system.phases.indexOf(phase);
  const tokenizer = models.policy!.tokenizer;
  let calls = 0;
  let rollouts = 0;

  async function sample(plan: SamplePlan): Promise<Trajectory[]> {
    const call = calls++;
    const streams = (purpose: "rollout" | "initialNoise") => (prompt: number, i: number) =>
      streamAt(settings.seed, purpose, step, phaseIndex, call, prompt, i);
    const request = sampleRequest(run, plan, streams("rollout"), streams("initialNoise"));
    const model = plan.model ?? "policy";
    const source = model === "policy" ? run.sampler : modelNamed(models, model);
    const draw = (asked: SampleRequest) => wholeRollouts(run, source, asked);
    const sampled = await (source === run.sampler ? fresh(run, request, draw) : draw(request));
    run.progress.tokens += sampled.reduce(
      (sum, t) => sum + t.prompt.tokens.length + t.actions.length,
      0,
    );
    // Models of this process are always current; only a sampler knows what its weights have seen.
    const current = source === run.sampler ? {} : { policyVersion: run.progress.updates };
    return sampled.map((t) => ({ ...t, ...current, id: rollouts++ }));
  }

  const ctx: StepContext = {
    engine: run.engine,
    settings,
    rewards: task.rewards,
    rewardWeights: task.rewardWeights,
    ...taskForms(task),
    models,
    state: run.state,
    uniform: uniformAt(settings.seed, "stage", step, phaseIndex),
    uniformOf: (name) => uniformAt(settings.seed, "stage", step, phaseIndex, ...nameIds(name)),
    get epoch() {
      return epochOf(run.train, run.state);
    },
    measure,
    step,
    signal: run.signal,
    sample,
    prompts: (count) => nextPrompts(run, count),
    tokenize: (question) => tokenized(question, tokenizer),
    async fork(trajectory, at, children) {
      const plan = continuation(trajectory, at, settings.maxCompletionLength);
      const tails = await sample({ ...plan, counts: children });
      return tails.map((tail) => continued(trajectory, at, tail, tokenizer));
    },
    async score(trajectories, how = {}): Promise<Column[]> {
      const policy = modelNamed(models, how.model ?? "policy");
      const rows = trajectories.map((t, i) => ({ ...t, prompt: how.prompts?.[i] ?? t.prompt }));
      const scores = await scoreRows(run, policy, rows);
      return scores.map(({ logProb }) => ({ level: "action", values: logProb }));
    },
    async values(trajectories): Promise<Column[]> {
      const scores = await scoreRows(run, models[phase.model]!, trajectories, { value: true });
      return scores.map(({ value }) => ({ level: "action", values: value! }));
    },
    demonstrate: (prompt) => ({ ...demonstration(run, prompt, ctx.uniform), id: rollouts++ }),
    reward: (trajectories) => unlessAborted(run, async () => phase.reward.run(trajectories, ctx)),
  };
  return ctx;
}

/** A plan with everything settled. */
export function sampleRequest(
  run: Run,
  plan: SamplePlan,
  stream: (prompt: number, sample: number) => RandomStream,
  noiseStream = stream,
): SampleRequest {
  const { prompts, flow, sharedNoise = false, starts } = plan;
  const given = plan.counts;
  const counts = typeof given === "number" ? prompts.map(() => given) : given;
  if (counts.length !== prompts.length) {
    throw new FiresteelError(
      "ERR_SHAPE",
      `Expected ${prompts.length} counts in the sample plan but received ${counts.length}`,
    );
  }
  return {
    prompts,
    counts,
    streams: counts.flatMap((count, p) => Array.from({ length: count }, (_, i) => stream(p, i))),
    temperature: plan.temperature ?? run.settings.temperature,
    maxCompletionLength: plan.maxCompletionLength ?? run.settings.maxCompletionLength,
    greedy: plan.greedy ?? false,
    stop: plan.stop ?? [],
    hook: plan.hook ?? null,
    // Where a run is to stop at the end of a step, what is being sampled is finished.
    signal: run.abort,
    ...(flow !== undefined && { flow }),
    ...(starts !== undefined && { starts }),
    ...(sharedNoise && {
      noiseStreams: counts.flatMap((count, p) => new Array(count).fill(noiseStream(p, 0))),
    }),
  };
}

/**
 * As many rollouts as were asked for, none of them broken.
 *
 * @throws FiresteelError ERR_SAMPLER; ERR_ABORTED where the run is stopped at once, also where a sampler of
 *   somebody else's does not heed that
 */
export async function wholeRollouts(
  run: Run,
  source: Pick<Sampler, "sample">,
  request: SampleRequest,
): Promise<Trajectory[]> {
  const wanted = request.streams.length;
  const draw = async () => source.sample(request);
  const sampled = await (source === run.sampler ? fromSampler(run, draw) : draw());
  if (sampled.length !== wanted) {
    throw new FiresteelError(
      "ERR_SAMPLER",
      `Expected ${wanted} rollouts from the sampler but received ${sampled.length}`,
    );
  }
  const broken = sampled.filter(({ finish }) => finish === "error").length;
  if (broken > 0) {
    throw new FiresteelError(
      "ERR_SAMPLER",
      `Expected ${wanted} whole rollouts from the sampler but ${broken} ended in an error`,
    );
  }
  return sampled;
}

function modelNamed(models: Readonly<Record<string, Policy>>, name: string): Policy {
  checkChoice("model", name, Object.keys(models));
  return models[name]!;
}
