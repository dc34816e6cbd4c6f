// Aborted at every await: a call runs once to count how often a promise of it goes on, then again and again,
// stopped at the first, second, ... of these moments.
import { createHook } from "node:async_hooks";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { guarded } from "../../dist/blocks/index.js";
import * as firesteel from "../../dist/index.js";
import { readCheckpoint } from "../../dist/trainer/checkpoint.js";
import { digest } from "../memory/digest.mjs";
import { shortTasks, small } from "../memory/scenarios.mjs";
import { httpCalls } from "./httpAborts.mjs";

const { Engine } = firesteel;

/** Runs `work` and calls `at` when the k-th promise goes on. @returns how many there were */
async function counting(k, at, work) {
  const promises = new Set();
  let seen = 0;
  const hook = createHook({
    init: (id, type) => type === "PROMISE" && promises.add(id),
    before(id) {
      if (promises.has(id) && ++seen === k) at();
    },
  });
  hook.enable();
  try {
    return { result: await work(), count: seen };
  } catch (error) {
    return { error, count: seen };
  } finally {
    hook.disable();
  }
}

/** Forward passes through attention and steps of flows: what a call may still do after an abort. */
function watchWork(engine) {
  let passes = 0;
  const { addon } = engine;
  const watched = Object.create(addon);
  for (const name of ["attentionForward", "attentionBackward", "flowStep"]) {
    watched[name] = (...given) => {
      passes += 1;
      return addon[name](...given);
    };
  }
  engine.addon = watched;
  return () => passes;
}

const train = (system, task, { which }) => ({
  name: `train ${system}, ${which}`,
  /** Both end the promise with what was done so far. */
  stops: true,
  /** One micro-batch or decoding step of two layers, forward and back, where it ends at once. */
  passes: which === "abort" ? 8 : Number.POSITIVE_INFINITY,
  open(engine, folder) {
    const base = join(folder, "base");
    const out = join(folder, "run");
    const options = { ...small, system, task, engine };
    return {
      prepare: () => firesteel.train({ ...options, steps: 1, out: base }),
      async call(signal) {
        rmSync(out, { recursive: true, force: true });
        cpSync(base, out, { recursive: true, verbatimSymlinks: true });
        return firesteel.train({ ...options, resume: out, [which]: signal });
      },
      bits: () => [readFileSync(join(out, "checkpoint-2", "policy", "model.safetensors"))],
      async again() {
        await readCheckpoint(out);
        if (!existsSync(join(out, "checkpoint-2")))
          await firesteel.train({ ...options, resume: out });
      },
      folder: out,
    };
  },
});

const fresh = (system, task) => ({
  name: `train ${system} from the beginning, abort`,
  stops: true,
  passes: 8,
  open(engine, folder) {
    const out = join(folder, "run");
    const options = { ...small, system, task, engine, out, steps: 1, warmStart: true };
    return {
      call(signal) {
        rmSync(out, { recursive: true, force: true });
        return firesteel.train({ ...options, abort: signal });
      },
      bits: () => [readFileSync(join(out, "checkpoint-1", "policy", "model.safetensors"))],
      async again() {
        const entries = existsSync(out) ? readdirSync(out) : [];
        if (!entries.some((entry) => /^(warm-start|checkpoint)-/.test(entry))) return this.call();
        await readCheckpoint(out);
        if (!existsSync(join(out, "checkpoint-1"))) {
          const { out: _, ...rest } = options;
          await firesteel.train({ ...rest, resume: out });
        }
      },
      folder: out,
    };
  },
});

const solve = {
  name: "solve",
  passes: 8,
  open(engine, folder) {
    const task = shortTasks.tokens;
    const tokenizer = new firesteel.CharTokenizer(task.alphabet);
    const config = firesteel.tinyConfig(tokenizer.vocabularySize, task.policy);
    const asked = {
      prompts: task.train.slice(0, 2),
      task,
      engine,
      maxCompletionLength: 4,
      reflect: 1,
    };
    return {
      async prepare() {
        const own = firesteel.TokenPolicy.create(engine, config, { tokenizer, seed: 3 });
        await own.save(folder).finally(() => own.dispose());
      },
      async call(signal) {
        this.answers = await firesteel.solve({ ...asked, policy: folder, signal });
      },
      bits() {
        return this.answers;
      },
    };
  },
};

const score = {
  name: "score",
  passes: 0,
  open(engine, folder) {
    const path = join(folder, "rollouts.jsonl");
    return {
      prepare() {
        const line = (_, i) => {
          const logProbs = [-0.5, -1.25, -0.1 * i];
          return JSON.stringify({ group: i >> 2, reward: i % 3, logProbs, oldLogProbs: logProbs });
        };
        writeFileSync(path, `${Array.from({ length: 12 }, line).join("\n")}\n`);
      },
      async call(signal) {
        this.rows = [];
        const options = { system: firesteel.systems.grpo, gradients: true, signal };
        const results = firesteel.scoreFile(engine, path, options);
        for await (const row of results) this.rows.push(row);
      },
      bits() {
        return this.rows;
      },
    };
  },
};

const read = {
  name: "read",
  passes: 0,
  open(engine) {
    return {
      async call(signal) {
        const tensor = engine.tensor(new Float32Array(100_000).fill(2));
        this.values = await tensor.read({ signal }).finally(() => tensor.dispose());
      },
      bits() {
        return this.values;
      },
    };
  },
};

/** An engine of its own: what is left in it goes with it. */
const replicate = {
  name: "replicate",
  passes: 0,
  open(_engine, folder) {
    const out = join(folder, "out");
    const { steps: _, onWarning: __, seed: ___, ...settings } = small;
    const measure = {
      name: "accuracy",
      better: "higher",
      of: ({ steps }) => steps.at(-1).metrics["eval/accuracy"],
    };
    const claim = {
      ...{ id: "brief", claim: "grpo is grpo", baseline: "grpo", task: shortTasks.tokens, measure },
      settings: { ...settings, steps: 1 },
      arms: [
        { name: "grpo", system: "grpo" },
        { name: "rloo", system: "rloo" },
      ],
      judge: firesteel.exceeds({ arm: "grpo", baselines: ["rloo"], measure, by: 0 }),
    };
    const run = (signal) =>
      firesteel.replicate([claim], { seeds: 1, device: "cpu", threads: 1, out, signal });
    return {
      async call(signal) {
        rmSync(out, { recursive: true, force: true });
        this.results = await run(signal);
      },
      /** Goes on with the runs that are done. */
      async again() {
        this.results = await run();
      },
      bits() {
        return this.results;
      },
    };
  },
};

const guardedReward = {
  name: "guarded reward",
  passes: 0,
  open() {
    const completions = ["1", "2", "3", "4", "5"];
    const limits = { batch: "each", concurrency: 2, retries: 2, retryDelaySeconds: 0.002 };
    return {
      async call(signal = new AbortController().signal) {
        const tries = new Map();
        const judge = async ({ completions: [text] }) => {
          await turn();
          const before = tries.get(text) ?? 0;
          tries.set(text, before + 1);
          if (before < text % 3) throw new Error("not yet");
          return [Number(text)];
        };
        const reward = guarded(judge, limits);
        const none = completions.map(() => null);
        const context = { completions, prompts: none, trajectories: none, columns: {}, signal };
        this.values = await reward(context);
      },
      bits() {
        return this.values;
      },
    };
  },
};

const turn = () => new Promise((resolve) => setImmediate(resolve));

export const calls = [
  read,
  solve,
  score,
  replicate,
  guardedReward,
  ...httpCalls,
  train("grpo", shortTasks.tokens, { which: "abort" }),
  train("grpo", shortTasks.tokens, { which: "signal" }),
  train("spark", shortTasks.tokens, { which: "abort" }),
  train("flow-grpo", shortTasks.flow, { which: "abort" }),
  fresh("grpo", shortTasks.tokens),
];

/** What is open; sockets of HTTP stay so for a client's next request. */
const openResources = ({ http = false }) =>
  process.getActiveResourcesInfo().filter((name) => !(http && name === "TCPSocketWrap"));

/**
 * @param points how many of the moments are tried, evenly spread; default: all
 * @param again of how many of them the same call is repeated to its end
 * @returns moments, tries, the most work after an abort, and what is wrong
 */
export async function abortEverywhere(
  scenario,
  { points = Number.POSITIVE_INFINITY, again = 1 } = {},
) {
  const engine = new Engine({ device: "cpu", threads: 1 });
  const passes = watchWork(engine);
  const folder = mkdtempSync(join(tmpdir(), "firesteel-abort-"));
  const scratch = join(folder, "scratch");
  mkdirSync(scratch);
  const before = process.env.TMPDIR;
  process.env.TMPDIR = scratch;
  const findings = [];
  const unhandled = (error) =>
    findings.push(`${scenario.name}: unhandled rejection ${error?.stack}`);
  process.on("unhandledRejection", unhandled);
  let opened = null;
  try {
    opened = scenario.open(engine, folder);
    await opened.prepare?.();
    const whole = await counting(
      0,
      () => {},
      () => opened.call(),
    );
    if (whole.error) throw whole.error;
    const expected = digest(opened.bits());
    await engine.synchronize();
    const live = engine.memory().live;
    await turn();
    const resources = openResources(scenario).length;
    let [tried, most] = [0, 0];
    const moments = Math.min(points, whole.count);
    for (let i = 0; i < moments; ++i) {
      const k = 1 + Math.floor((i * whole.count) / moments);
      const say = (what) => findings.push(`${scenario.name}: aborted at await ${k}: ${what}`);
      const stop = new AbortController();
      let begun = Number.NaN;
      const abort = () => {
        begun = passes();
        stop.abort(new Error("enough"));
      };
      const { result, error } = await counting(k, abort, () => opened.call(stop.signal));
      // Over HTTP not every call takes the same turns.
      if (!stop.signal.aborted) continue;
      tried += 1;
      const done = passes() - begun;
      most = Math.max(most, done);
      if (error !== undefined && error.code !== "ERR_ABORTED") say(`it failed of ${error.stack}`);
      if (error !== undefined && scenario.stops) say(`it rejected: ${error.message}`);
      if (result !== undefined && scenario.stops) {
        const { stopped, stoppedBy } = result;
        if (stopped && stoppedBy !== "signal") say(`it was stopped by ${stoppedBy}`);
      }
      const wrong = opened.wrong?.() ?? null;
      if (wrong !== null) say(wrong);
      if (done > scenario.passes) say(`${done} passes of attention or flow steps followed`);
      await engine.synchronize();
      // A file that a stream has let go of is closed some turns later; a server loads to the end what a client
      // that is gone had told it of.
      const open = () => openResources(scenario).length - resources;
      const left = () => engine.memory().live - live;
      for (let turns = 0; turns < 50_000 && (open() > 0 || left() > 0); ++turns) await turn();
      if (left() !== 0) say(`${left()} bytes are left`);
      if (open() > 0) say(`open: ${openResources(scenario)}`);
      if (readdirSync(scratch).length > 0) say("temporary files are left");
      if (tried % again !== 0) continue;
      await (opened.again?.() ?? opened.call());
      if (digest(opened.bits()) !== expected) say("the same call gives other bits afterwards");
    }
    return { awaits: whole.count, tried, most, findings };
  } finally {
    process.off("unhandledRejection", unhandled);
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
    await opened?.end?.();
    engine.dispose();
    rmSync(folder, { recursive: true, force: true });
  }
}
