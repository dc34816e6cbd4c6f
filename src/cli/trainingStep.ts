import { host, type Inputs } from "../bench/inputs.js";
import type { Results, WholeBench, WholeResult, WholeSetting } from "../bench/kernel.js";
import { summarize } from "../bench/measure.js";
import { beside, withRatios } from "../bench/peers/peer.js";
import { intoGroups } from "../blocks/index.js";
import type { Trajectory } from "../contract/data.js";
import type { PolicyShape } from "../contract/task.js";
import { concatenate } from "../engine/ragged.js";
import {
  CharTokenizer,
  EmbeddedSampler,
  Engine,
  namedSystem,
  namedTask,
  TokenPolicy,
  tinyConfig,
  train,
} from "../index.js";
import { beginRun, beginSteps, endRun } from "../trainer/beginRun.js";
import { permutation, streamAt, uniformAt } from "../trainer/random.js";
import type { Run } from "../trainer/run.js";
import { trainSettings } from "../trainer/settings.js";
import { updatePhase } from "../trainer/update.js";

const task = namedTask("arithmetic");
const system = namedSystem("grpo");
const settings = trainSettings(task, { seed: 0 });
const { promptsPerStep, numGenerations, maxCompletionLength } = settings;

/**
 * The two halves of a GRPO step of the embedded policy, which knows its task by then: sampling with a
 * cache of keys and values, and the updates (old log-probs, minibatches, AdamW).
 */
export const trainingStep: WholeBench = {
  name: "training-step",
  about: "sampling and updating in a GRPO step of the embedded policy, after its warm start",
  async measure(setting) {
    const { device, threads } = setting;
    const engine = new Engine({ device, threads });
    const tokenizer = new CharTokenizer(task.alphabet!);
    const config = tinyConfig(tokenizer.vocabularySize, task.policy as PolicyShape);
    const policy = TokenPolicy.create(engine, config, { tokenizer, seed: 0 });
    try {
      await train({ engine, policy, steps: 0, evalSamples: 1, seed: 0, warmStart: true });
      const run = await beginRun({
        ...{ engine, system, task, policy, sampler: new EmbeddedSampler(policy), settings },
        ...{
          names: { firesteel: "", policy: "", models: {}, source: null },
          out: null,
          resume: null,
          callbacks: [],
          given: {},
        },
      });
      await beginSteps(run);
      try {
        const weights = await weightsOf(policy);
        const sizes = sizesOf(policy);
        return [
          await generation(setting, run, weights, sizes),
          await updating(setting, run, weights, sizes),
        ];
      } finally {
        endRun(run);
      }
    } finally {
      policy.dispose();
      engine.dispose();
    }
  },
};

/** What both sides start from. */
async function weightsOf(policy: TokenPolicy): Promise<Inputs> {
  const named = policy.parameters.map(async ({ name, value }) => {
    return [name, host(await value.read(), "f32", value.shape)] as const;
  });
  return Object.fromEntries(await Promise.all(named));
}

function sizesOf({ config, tokenizer }: TokenPolicy): Record<string, number> {
  return {
    layers: config.numLayers,
    heads: config.numHeads,
    W: config.hiddenSize,
    D: config.headDim,
    L: config.maxLength,
    ropeTheta: config.ropeTheta,
    eps: config.rmsNormEps,
    end: tokenizer!.endOfSequence,
    G: numGenerations,
    new: maxCompletionLength,
    minibatch: settings.minibatchSize,
  };
}

function sampled(run: Run, seed: number, greedy = false): Promise<Trajectory[]> {
  const prompts = run.train.slice(0, promptsPerStep);
  return run.sampler.sample({
    prompts,
    counts: prompts.map(() => numGenerations),
    streams: Array.from({ length: promptsPerStep * numGenerations }, (_, i) =>
      streamAt(settings.seed, "rollout", seed, i),
    ),
    ...{ temperature: 1, maxCompletionLength, greedy, stop: [], hook: null, signal: null },
  });
}

/** Token ids of rows of unequal length, the end token after each. */
function padded(rows: readonly Trajectory[], end: number, withPrompt: boolean): Int32Array {
  const lines = rows.map(({ prompt, actions }) => {
    const ids = new Int32Array(maxCompletionLength).fill(end);
    if (actions.kind === "tokens") ids.set(actions.ids);
    return withPrompt ? concatenate(Int32Array, [prompt.tokens, ids]) : ids;
  });
  return concatenate(Int32Array, lines);
}

async function generation(
  setting: WholeSetting,
  run: Run,
  weights: Inputs,
  sizes: Record<string, number>,
): Promise<WholeResult> {
  const greedy = await sampled(run, 0, true);
  const prompts = run.train.slice(0, promptsPerStep).map(({ tokens }) => tokens);
  const shape = [promptsPerStep, prompts[0]!.length];
  const inputs = { ...weights, prompts: host(concatenate(Int32Array, prompts), "i32", shape) };
  const ids = Float64Array.from(padded(greedy, sizes.end!, false));
  let tokens = 0;
  let calls = 0;
  const call = async () => {
    const rows = await sampled(run, ++calls);
    tokens += rows.reduce((sum, { actions }) => sum + actions.length, 0);
  };
  const timed = await besideOthers(setting, run, "generate", { inputs, sizes }, { ids }, call);
  return { ...timed, tokensPerS: (1000 * tokens) / calls / timed.medianMs };
}

async function updating(
  setting: WholeSetting,
  run: Run,
  weights: Inputs,
  sizes: Record<string, number>,
): Promise<WholeResult> {
  // Every row teaches something, whatever it says.
  const rows = (await sampled(run, 0)).map((row, i): Trajectory => {
    const advantage = { level: "row", value: i % 2 === 0 ? 1 : -1 } as const;
    return { ...row, columns: { ...row.columns, advantage } };
  });
  const groups = intoGroups(run.train.slice(0, promptsPerStep), rows, numGenerations);
  const length = rows[0]!.prompt.tokens.length + maxCompletionLength;
  const mask = new Float32Array(rows.length * maxCompletionLength);
  for (const [r, { actions }] of rows.entries()) {
    mask.fill(1, r * maxCompletionLength, r * maxCompletionLength + actions.length);
  }
  const order = permutation(rows.length, uniformAt(settings.seed, "minibatch", 1, 0, 0));
  const inputs = {
    ...weights,
    rows: host(padded(rows, sizes.end!, true), "i32", [rows.length, length]),
    mask: host(mask, "f32", [rows.length, maxCompletionLength]),
    order: host(Int32Array.from(order), "i32"),
    advantage: host(
      Float32Array.from(rows, (_, i) => (i % 2 === 0 ? 1 : -1)),
      "f32",
    ),
  };
  const gradNorm: number[] = [];
  const update = (measure: (name: string, value: number) => void) =>
    updatePhase(run, system.phases[0]!, groups, 1, (name, part) => {
      if (part.kind === "mean" && part.count > 0) measure(name, part.sum / part.count);
    });
  const tokens = await update((name, value) => {
    if (name === "grad_norm") gradNorm.push(value);
  });
  const task = { inputs, sizes };
  const want = { gradNorm: Float64Array.from(gradNorm) };
  const timed = await besideOthers(setting, run, "update", task, want, async () => {
    await update(() => {});
  });
  return { ...timed, tokensPerS: (1000 * tokens) / timed.medianMs };
}

/** Half of the samples before the others and half after: a machine that changes its pace does so for all. */
async function besideOthers(
  { peers, budgetMs, onProgress }: WholeSetting,
  { engine }: Run,
  variant: string,
  { inputs, sizes }: { inputs: Inputs; sizes: Record<string, number> },
  want: Results,
  call: () => Promise<void>,
): Promise<Omit<WholeResult, "tokensPerS">> {
  const half = { samples: 25, budgetMs: budgetMs / 2 };
  const { device } = engine;
  const { threads } = engine.info;
  const times = await timed(call, half);
  const others = new Map<string, NonNullable<Awaited<ReturnType<typeof beside>>>>();
  for (const peer of peers) {
    const task = `training-step ${variant}`;
    onProgress(`${task}: ${peer.name}`);
    const where = { device: device === "cuda" ? "cuda" : "cpu", threads, copies: 1 } as const;
    const asked = { task, dtype: "f32", sizes, inputs, ...where } as const;
    const result = await beside(peer, asked, want, half);
    if (result !== null) others.set(peer.name, result);
  }
  times.push(...(await timed(call, half)));
  const summary = summarize(times);
  return {
    ...{ variant, device, threads, dtype: "f32", shape: [promptsPerStep, numGenerations] },
    ...summary,
    peakMemoryBytes: engine.memory().peak,
    peers: withRatios(others, summary.medianMs),
  };
}

const warmMs = 1000;

async function timed(
  call: () => Promise<void>,
  { samples, budgetMs }: { samples: number; budgetMs: number },
): Promise<number[]> {
  // JavaScript is compiled while it runs: steps are faster after some dozens of them.
  const warm = performance.now() + warmMs;
  while (performance.now() < warm) await call();
  const times: number[] = [];
  const begun = performance.now();
  while (times.length < samples && (times.length < 3 || performance.now() - begun < budgetMs)) {
    const from = performance.now();
    await call();
    times.push(performance.now() - from);
  }
  return times;
}
