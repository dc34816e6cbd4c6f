// What is done while memory is refused: every kernel family, and what users call.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as firesteel from "../../dist/index.js";
import { readCheckpoint } from "../../dist/trainer/checkpoint.js";
import { kernels, makeInputs, tensorsOf } from "../soak/kernels.mjs";

const { arithmetic, flow2d } = firesteel.tasks;
const brief = (task, steps, batchSize) => ({
  ...task,
  warmStart: task.warmStart.map((stage) => ({ ...stage, steps, batchSize })),
  evaluation: task.evaluation.slice(0, 2),
  evaluations: {},
});
export const shortTasks = { tokens: brief(arithmetic, 2, 4), flow: brief(flow2d, 2, 8) };

/** Settings under which a step takes milliseconds. */
export const small = {
  ...{ seed: 7, steps: 2, promptsPerStep: 2, numGenerations: 4, minibatchSize: 8 },
  ...{ evalSamples: 1, evalSteps: 2, saveSteps: 1, onWarning: () => {} },
};

function generator(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return {
    normals: (size) => Array.from({ length: size }, normal),
    integer: (end) => Math.floor(uniform() * end),
    mask: (size, share) => Uint8Array.from({ length: size }, () => (uniform() < share ? 1 : 0)),
  };
}

/** Families of one call each; the others hold tensors between two calls, which a scope frees. */
const single = [
  ...["logProb", "linearLogProb", "tokenLoss", "surrogate", "groupNorm", "groupNormByKeys"],
  ...["klEstimate", "groupLoss", "divergence", "matmul", "rope", "sample"],
];
/** They change their inputs: a second call gives other bits. */
const inPlace = ["embedding", "elementwise", "adamw"];

const kernel = (name) => ({
  name: `kernel ${name}`,
  again: !inPlace.includes(name),
  async open(engine) {
    const inputs = makeInputs(engine, generator(1), [48, 17, 8]);
    const make = () => kernels[name](engine, inputs);
    return {
      async call() {
        const made = single.includes(name) ? make() : engine.scope(make);
        const tensors = [...new Set(tensorsOf(made))];
        try {
          return await Promise.all(tensors.map((tensor) => tensor.read()));
        } finally {
          for (const tensor of tensors) tensor.dispose();
        }
      },
      end: () => inputs.dispose(),
    };
  },
});

function tokenPolicy(engine) {
  const tokenizer = new firesteel.CharTokenizer(arithmetic.alphabet);
  const config = firesteel.tinyConfig(tokenizer.vocabularySize, arithmetic.policy);
  return firesteel.TokenPolicy.create(engine, config, { tokenizer, seed: 3 });
}

const flowPolicy = (engine) =>
  firesteel.FlowPolicy.create(engine, firesteel.flowConfig(flow2d.policy), { seed: 3 });

function promptsOf(policy, task) {
  return task.train.slice(0, 2).map((question) => ({
    ...question,
    tokens: Int32Array.from(policy.tokenizer?.encode(question.messages[0].content) ?? []),
  }));
}

const request = (policy, task) => ({
  prompts: promptsOf(policy, task),
  counts: [3, 2],
  streams: Array.from({ length: 5 }, (_, i) => [i, 9]),
  ...{ temperature: 1, maxCompletionLength: 6, greedy: false, stop: [], hook: null, signal: null },
});

/** A policy that is sampled, scored and taught. */
const policy = (name, create, task) => ({
  name: `policy ${name}`,
  again: true,
  async open(engine) {
    const own = create(engine);
    const asked = request(own, task);
    for (const { grad } of own.parameters) grad.readSync();
    return {
      async call() {
        const rows = await own.sample(asked);
        const { logProb } = own.score(rows);
        const scored = await logProb.read().finally(() => logProb.dispose());
        for (const { grad } of own.parameters) grad.write(new Float32Array(grad.size));
        const forward = own.forward(rows);
        let seed = null;
        try {
          seed = engine.tensor(new Float32Array(scored.length).fill(-1));
          forward.backward({ logProb: seed });
        } finally {
          seed?.dispose();
          forward.dispose();
        }
        const gradients = await Promise.all(own.parameters.map(({ grad }) => grad.read()));
        const copy = own.clone();
        copy.dispose();
        return [rows.map(({ actions, columns }) => [actions, columns]), scored, gradients];
      },
      end: () => own.dispose(),
    };
  },
});

const withFolder = (open) => async (engine) => {
  const folder = mkdtempSync(join(tmpdir(), "firesteel-memory-"));
  const opened = await open(engine, folder);
  return {
    ...opened,
    end() {
      opened.end?.();
      rmSync(folder, { recursive: true });
    },
  };
};

const savedPolicy = (name, create) => ({
  name: `open and save a ${name} policy`,
  again: true,
  open: withFolder(async (engine, folder) => {
    const own = create(engine);
    await own.save(folder);
    own.dispose();
    return {
      async call() {
        const opened = await firesteel.openPolicy(engine, folder);
        try {
          await opened.load(folder);
          await opened.save(folder);
          return await Promise.all(opened.parameters.map(({ value }) => value.read()));
        } finally {
          opened.dispose();
        }
      },
    };
  }),
});

const answers = {
  name: "solve",
  again: true,
  open: withFolder(async (engine, folder) => {
    const own = tokenPolicy(engine);
    await own.save(folder);
    own.dispose();
    const prompts = arithmetic.train.slice(0, 3);
    const asked = { policy: folder, prompts, task: arithmetic, engine, maxCompletionLength: 6 };
    return { call: () => firesteel.solve({ ...asked, reflect: 1 }) };
  }),
};

const score = {
  name: "score",
  again: true,
  open: withFolder(async (engine, folder) => {
    const path = join(folder, "rollouts.jsonl");
    const line = (_, i) => {
      const logProbs = [-0.5, -1.25, -0.1 * i];
      return JSON.stringify({ group: i >> 2, reward: i % 3, logProbs, oldLogProbs: logProbs });
    };
    writeFileSync(path, `${Array.from({ length: 12 }, line).join("\n")}\n`);
    const system = firesteel.systems.grpo;
    return {
      async call() {
        const rows = [];
        const results = firesteel.scoreFile(engine, path, { system, gradients: true });
        for (;;) {
          const { done, value } = await results.next();
          rows.push(value);
          if (done) return rows;
        }
      },
    };
  }),
};

const serve = {
  name: "serve",
  again: true,
  open: withFolder(async (engine, folder) => {
    const own = tokenPolicy(engine);
    await own.save(folder);
    own.dispose();
    // A client is told that there is no memory now, the server's owner why.
    let why = null;
    const onError = (error) => {
      why = error;
    };
    const server = await firesteel.serve({ policy: folder, port: 0, engine, onError });
    return {
      async call() {
        const body = { prompt: "01=2?", max_tokens: 4, seed: 1, logprobs: 0 };
        const response = await fetch(`${server.url}/v1/completions`, {
          method: "POST",
          body: JSON.stringify(body),
          headers: { "content-type": "application/json", connection: "close" },
        });
        const { choices, error } = await response.json();
        if (response.ok) return choices;
        throw response.status === 503 && error.code === "out_of_memory" ? why : error;
      },
      end: () => server.close(),
    };
  }),
};

/**
 * Two steps from a checkpoint: what a failure leaves must lead to the same weights. The run is begun without
 * faults, since what is refused before its first checkpoint leaves nothing to compare.
 */
const training = (system, task) => ({
  name: `train ${system}`,
  again: true,
  open: withFolder(async (engine, folder) => {
    const options = { ...small, system, task, engine };
    const base = join(folder, "base");
    await firesteel.train({ ...options, steps: 1, out: base });
    const out = join(folder, "run");
    return {
      async call() {
        rmSync(out, { recursive: true, force: true });
        cpSync(base, out, { recursive: true, verbatimSymlinks: true });
        return this.again();
      },
      /** Goes on from what the failure left. */
      async again() {
        await readCheckpoint(out);
        await firesteel.train({ ...options, resume: out });
        const last = join(out, "checkpoint-2", "policy");
        return [readFileSync(join(last, "model.safetensors"))];
      },
    };
  }),
});

export const scenarios = [
  ...Object.keys(kernels).map(kernel),
  policy("over tokens", tokenPolicy, arithmetic),
  policy("over flows", flowPolicy, flow2d),
  savedPolicy("token", tokenPolicy),
  savedPolicy("flow", flowPolicy),
  answers,
  score,
  serve,
  training("grpo", shortTasks.tokens),
  training("spark", shortTasks.tokens),
  training("ppo", shortTasks.tokens),
  training("flow-grpo", shortTasks.flow),
];
