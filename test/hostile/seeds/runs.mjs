/** Valid arguments of what works with folders, files and ports: policies, runs, scoring, serving. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  CharTokenizer,
  EmbeddedSampler,
  FlowPolicy,
  flowConfig,
  namedClaim,
  namedSystem,
  OpenAISampler,
  serve,
  TokenPolicy,
  tasks,
  tinyConfig,
} from "../../../dist/index.js";
import { some } from "./kernels.mjs";
import { shape } from "./pure.mjs";
import { flowActions, prompt, question } from "./rollouts.mjs";

const of = (self, ...args) => ({ self, args });

const tokenizer = () => new CharTokenizer(tasks.arithmetic.alphabet);

function tokenPolicy(w) {
  const chars = tokenizer();
  const config = {
    ...tinyConfig(chars.vocabularySize, shape()),
    maxLength: 64,
    valueHead: w.chance(0.3),
  };
  return w.hold(TokenPolicy.create(w.engine, config, { tokenizer: chars, seed: 1 }));
}

function flowPolicy(w) {
  const config = flowConfig({ kind: "flow", width: 2, conditionWidth: 2, hidden: 8, layers: 1 });
  return w.hold(FlowPolicy.create(w.engine, config, { seed: 1 }));
}

const flowPrompt = () => ({
  ...prompt(),
  tokens: new Int32Array(0),
  columns: { condition: [1, 0] },
});

/** A folder of this call's own. */
function folder(w, name) {
  const path = w.path(name);
  mkdirSync(path, { recursive: true });
  return path;
}

const request = (w, one) => ({
  prompts: [one, one],
  counts: [1, 2],
  streams: [
    [1, 2],
    [3, 4],
    [5, 6],
  ],
  temperature: 1,
  maxCompletionLength: 3,
  greedy: false,
  stop: [],
  hook: null,
  signal: w.pick([null, w.signal(), w.signal(2000)]),
});

const row = () => ({
  prompt: prompt(),
  actions: { kind: "tokens", length: 2, ids: Int32Array.of(3, 4) },
  mask: Uint8Array.of(1, 1),
});
const flowRow = () => ({ prompt: flowPrompt(), actions: flowActions(), mask: Uint8Array.of(1, 1) });

/** A folder that holds a policy, for all calls until it is cleared away. */
async function policyIn(w) {
  const path = join(w.root, "policy");
  if (!existsSync(join(path, "config.json"))) {
    mkdirSync(path, { recursive: true });
    await tokenPolicy(w).save(path);
  }
  return path;
}

/** The arithmetic task, so small that a step takes milliseconds. */
const task = () => ({
  ...tasks.arithmetic,
  warmStart: [],
  policy: shape(),
  train: tasks.arithmetic.train.slice(0, 4),
  evaluation: tasks.arithmetic.evaluation.slice(0, 2),
  evaluations: {},
});

const smallest = {
  steps: 1,
  promptsPerStep: 2,
  numGenerations: 2,
  maxCompletionLength: 3,
  evalSamples: 1,
  warmStart: false,
};

const trainOptions = (w) => ({
  system: w.pick(["grpo", "dapo", "mc-grpo", namedSystem("grpo")]),
  task: task(),
  engine: w.engine,
  seed: 7,
  ...smallest,
  signal: w.signal(w.pick([20, 2000])),
  abort: w.signal(3000),
  ...some(w, {
    out: w.path("run"),
    onStep: () => {},
    minibatchSize: 4,
    learningRate: 1e-3,
    callbacks: [{ begin() {}, phase() {}, end() {} }],
    maxGradNorm: 1,
  }),
});

const lines = [
  { group: "a", reward: 1, logProbs: [-0.5, -1], oldLogProbs: [-0.6, -1] },
  { group: "a", reward: 0, logProbs: [-0.3], oldLogProbs: [-0.3] },
  { group: "b", reward: null, logProbs: [], oldLogProbs: [] },
];

function write(w, name, text) {
  const path = w.path(name);
  writeFileSync(path, text);
  return path;
}

function rollouts(w) {
  const broken = w.chance(0.2) ? ["{", "[1]", '{"group": {}}'] : [];
  return write(
    w,
    "rollouts.jsonl",
    [...lines.map((line) => JSON.stringify(line)), ...broken].join("\n"),
  );
}

function runFolder(w) {
  const path = folder(w, "run");
  writeFileSync(join(path, "system.txt"), "phase policy");
  writeFileSync(join(path, "metrics.jsonl"), `${JSON.stringify({ step: 1, reward: 0.5 })}\n`);
  return path;
}

const claim = (w) => ({
  ...namedClaim("dapo"),
  id: "own",
  task: task(),
  settings: smallest,
  ...some(w, { claim: "own", baseline: "grpo" }),
});

/** A server of the stored policy and a sampler of it, for all calls of a thread. */
let served = null;

async function sampler(w) {
  served ??= connected(await policyIn(w));
  const { sampler: made } = await served;
  return made;
}

async function connected(policy) {
  const server = await serve({ policy, port: 0, device: "cpu", threads: 1 });
  const how = {
    url: server.url,
    retries: 0,
    patienceSeconds: 0,
    timeoutSeconds: 2,
    allowStale: true,
  };
  return { server, sampler: await OpenAISampler.connect(how) };
}

export async function closeServed() {
  const all = served;
  served = null;
  await (await all)?.server.close();
}

export const runs = {
  "TokenPolicy.create": (w) => [w.engine, tinyConfig(13, shape()), { tokenizer: null, seed: 1 }],
  "TokenPolicy.open": async (w) => [w.engine, await policyIn(w), some(w, { dtype: "f32" })],
  "TokenPolicy#maxLength": (w) => of(tokenPolicy(w)),
  "TokenPolicy#valueHead": (w) => of(tokenPolicy(w)),
  "TokenPolicy#parameters": (w) => of(tokenPolicy(w)),
  "TokenPolicy#sample": (w) => of(tokenPolicy(w), request(w, prompt())),
  "TokenPolicy#score": (w) =>
    of(tokenPolicy(w), [row(), row()], some(w, { temperature: 0.5, entropy: true })),
  "TokenPolicy#forward": (w) =>
    of(tokenPolicy(w), [row()], some(w, { temperature: 0.5, entropy: true, logits: true })),
  "TokenPolicy#imitate": (w) =>
    of(tokenPolicy(w), [{ question: prompt(), completion: "0" }], {
      stream: [1, 2],
      measure: true,
    }),
  "TokenPolicy#clone": (w) => of(tokenPolicy(w)),
  "TokenPolicy#save": (w) => of(tokenPolicy(w), folder(w, "policy")),
  "TokenPolicy#load": async (w) => of(tokenPolicy(w), await policyIn(w)),
  "TokenPolicy#dispose": (w) => of(tokenPolicy(w)),
  "FlowPolicy.create": (w) => [w.engine, flowPolicy(w).config, { seed: 1 }],
  "FlowPolicy.open": async (w) => {
    const path = folder(w, "flow");
    await flowPolicy(w).save(path);
    return [w.engine, path];
  },
  "FlowPolicy#parameters": (w) => of(flowPolicy(w)),
  "FlowPolicy#checkQuestion": (w) => of(flowPolicy(w), flowPrompt()),
  "FlowPolicy#sample": (w) =>
    of(flowPolicy(w), {
      ...request(w, flowPrompt()),
      ...some(w, { flow: { noise: "sde", noiseLevel: 0.7 } }),
    }),
  "FlowPolicy#score": (w) => of(flowPolicy(w), [flowRow()], some(w, { mean: true })),
  "FlowPolicy#forward": (w) => of(flowPolicy(w), [flowRow(), flowRow()], {}),
  "FlowPolicy#imitate": (w) =>
    of(flowPolicy(w), [{ question: flowPrompt(), target: Float32Array.of(1, 2) }], {
      stream: [1, 2],
      measure: true,
    }),
  "FlowPolicy#clone": (w) => of(flowPolicy(w)),
  "FlowPolicy#save": (w) => of(flowPolicy(w), folder(w, "flow")),
  "FlowPolicy#load": async (w) => {
    const path = folder(w, "flow");
    await flowPolicy(w).save(path);
    return of(flowPolicy(w), path);
  },
  "FlowPolicy#dispose": (w) => of(flowPolicy(w)),
  openPolicy: async (w) => [w.engine, await policyIn(w), some(w, { dtype: "f32" })],
  policyFolder: async (w) => [await policyIn(w)],
  publishWeights: (w) => [w.path("weights"), 3, tokenPolicy(w)],
  EmbeddedSampler: (w) => [tokenPolicy(w)],
  "EmbeddedSampler#sample": (w) => of(new EmbeddedSampler(tokenPolicy(w)), request(w, prompt())),
  "EmbeddedSampler#refresh": (w) => of(new EmbeddedSampler(tokenPolicy(w)), 3),
  // Nothing listens on port 1: a connection is refused at once.
  "OpenAISampler.connect": (w) => [
    { url: "http://127.0.0.1:2", retries: 0, patienceSeconds: 0, timeoutSeconds: 1 },
    w.signal(),
  ],
  "OpenAISampler#sample": async (w) => of(await sampler(w), request(w, prompt())),
  "OpenAISampler#refresh": async (w) => of(await sampler(w), 3, tokenPolicy(w)),
  train: (w) => [trainOptions(w)],
  solve: async (w) => [
    {
      policy: w.chance(0.5) ? tokenPolicy(w) : await policyIn(w),
      prompts: ["0202=", question()],
      maxCompletionLength: 3,
      ...some(w, { reflect: 1, signal: w.signal(), task: task(), engine: w.engine }),
    },
  ],
  scoreFile: (w) => [
    w.engine,
    rollouts(w),
    {
      system: namedSystem(w.pick(["grpo", "dapo", "gspo"])),
      ...some(w, { gradients: true, onBadLine: () => {}, onWarning: () => {} }),
    },
  ],
  serve: async (w) => [
    {
      policy: await policyIn(w),
      port: 0,
      engine: w.engine,
      ...some(w, { apiKey: "k", maxBatch: 2, timeoutSeconds: 1 }),
    },
  ],
  datasetTask: (w) => [
    {
      path: write(
        w,
        "data.jsonl",
        '{"prompt":"1+1=","label":"2"}\n{"prompt":"1+2=","label":"3"}\n',
      ),
      ...some(w, {
        verifier: "numeric",
        answer: "last-number",
        evaluation: { share: 0.5 },
        id: "own",
        columns: { prompt: "prompt", label: "label" },
      }),
    },
  ],
  writeReport: (w) => [runFolder(w), ...(w.chance(0.5) ? [w.path("page.html")] : [])],
  replicate: (w) => [
    [claim(w)],
    {
      seeds: 1,
      signal: w.signal(w.pick([50, 4000])),
      out: w.path("replicate"),
      device: "cpu",
      threads: 1,
      ...some(w, { onProgress: () => {}, onResult: () => {} }),
    },
  ],
};
