// A policy of one's own on the tape: the last characters through two layers (Bengio et al. 2003), trained by train().
// Run: node custom-policy.mjs [RUN_FOLDER [STEPS]]   a folder that holds a run already: it goes on
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CharTokenizer, datasetTask, Engine, FiresteelError, logProb, train } from "firesteel";
import {
  initialValues,
  Linear,
  Parameter,
  random,
  readSafetensors,
  sample,
  Tape,
  writeSafetensors,
} from "firesteel/nn";

/** Sees `window` characters and gives logits of the next. */
class WindowPolicy {
  kind = "tokens";
  maxLength = 64;

  constructor(engine, tokenizer, { window = 6, width = 8, hidden = 64, seed = 0 } = {}) {
    Object.assign(this, { engine, tokenizer, shape: { window, width, hidden, seed } });
    const source = ({ name, shape, role }) => {
      const values = initialValues({ name, shape, role }, seed, { std: 0.3, residualLayers: 1 });
      return new Parameter(name, engine.tensor(values, shape));
    };
    const vocabulary = tokenizer.vocabularySize;
    // One more row, for positions before the beginning.
    const embedding = { name: "embedding", shape: [vocabulary + 1, width], role: "embedding" };
    this.embedding = source(embedding);
    this.inner = new Linear(source, { name: "inner", inputs: window * width, outputs: hidden });
    this.outer = new Linear(source, { name: "outer", inputs: hidden, outputs: vocabulary });
    this.parameters = [this.embedding, ...this.inner.parameters, ...this.outer.parameters];
  }

  /** The network: contexts, a list of token lists, to logits [contexts.length, vocabulary]. */
  logits(tape, contexts) {
    const { window, width } = this.shape;
    const ids = new Int32Array(contexts.length * window).fill(this.tokenizer.vocabularySize);
    for (const [i, context] of contexts.entries()) {
      const seen = context.slice(-window);
      ids.set(seen, (i + 1) * window - seen.length);
    }
    const table = tape.parameter(this.embedding);
    const seen = tape.rows(table, tape.own(this.engine.tensor(ids)));
    const inner = this.inner.forward(tape, tape.view(seen, [contexts.length, window * width]));
    return this.outer.forward(tape, tape.silu(inner));
  }

  /** Rollouts, one token a turn for all that have not ended. */
  async sample(request) {
    const { prompts, counts, streams, temperature, greedy, maxCompletionLength, signal } = request;
    const stop = new Set([...request.stop, this.tokenizer.endOfSequence]);
    const rows = prompts
      .flatMap((prompt, p) => new Array(counts[p]).fill(prompt))
      .map((prompt, r) => ({
        prompt,
        random: random(streams[r]),
        ids: [],
        logProbs: [],
        finish: "",
      }));
    for (let live = rows; live.length > 0; live = live.filter(({ finish }) => finish === "")) {
      if (signal?.aborted) throw new FiresteelError("ERR_ABORTED", "Sampling was aborted");
      const [ids, logProbs] = this.engine.scope(() => {
        const tape = new Tape(this.engine, { grad: false });
        const contexts = live.map(({ prompt, ids }) => [...prompt.tokens, ...ids]);
        const logits = this.logits(tape, contexts).value;
        const uniform = Float32Array.from(live, (row) => row.random.uniform32());
        const drawn = sample(this.engine, logits, greedy ? { greedy } : { uniform, temperature });
        const scored = logProb(this.engine, logits, drawn, { temperature });
        const values = [drawn.readSync(), scored.logProb.readSync()];
        tape.dispose();
        return values;
      });
      for (const [i, row] of live.entries()) {
        row.ids.push(ids[i]);
        row.logProbs.push(logProbs[i]);
        if (stop.has(ids[i])) row.finish = "stop";
        else if (row.ids.length === maxCompletionLength) row.finish = "length";
      }
    }
    return rows.map(({ prompt, ids, logProbs, finish }, id) => ({
      ...{ id, prompt, finish, mask: new Uint8Array(ids.length).fill(1) },
      actions: { kind: "tokens", length: ids.length, ids: Int32Array.from(ids) },
      columns: { samplerLogProb: { level: "action", values: Float32Array.from(logProbs) } },
      text: this.tokenizer.decode(Int32Array.from(ids)),
      ...{ keys: { prompt: prompt.id }, rewards: {}, reward: null, policyVersion: 0, info: {} },
    }));
  }

  /** Log-probs of the rows' actions, all of them one after the other. */
  forward(rows, { temperature = 1, entropy = false } = {}, grad = true) {
    const { engine } = this;
    const rowOffsets = Int32Array.of(0, ...rows.map(({ actions }) => actions.length));
    for (let r = 0; r < rows.length; ++r) rowOffsets[r + 1] += rowOffsets[r];
    const ids = rows.flatMap(({ actions }) => [...actions.ids]);
    const mask = rows.flatMap(({ actions, mask }) => [...(mask ?? actions.ids.map(() => 1))]);
    const contexts = rows.flatMap(({ prompt, actions }) => {
      const whole = [...prompt.tokens, ...actions.ids];
      return Array.from(actions.ids, (_, t) => whole.slice(0, prompt.tokens.length + t));
    });
    const tape = new Tape(engine, { grad });
    const scores = tape.logProb(
      this.logits(tape, contexts),
      tape.own(engine.tensor(Int32Array.from(ids))),
      { temperature, entropy, mask: tape.own(engine.tensor(Uint8Array.from(mask))) },
    );
    return {
      ...{ rowOffsets, tape, scores },
      logProb: scores.logProb.value,
      entropy: scores.entropy?.value ?? null,
      backward(gradient) {
        const seeds = ["logProb", "entropy"].filter((name) => gradient[name]);
        tape.backward(seeds.map((name) => [scores[name], gradient[name]]));
      },
      dispose: () => tape.dispose(),
    };
  }

  score(rows, options) {
    const { tape, scores, rowOffsets } = this.forward(rows, options, false);
    const taken = (score) => score && tape.release(score);
    const released = { rowOffsets, logProb: taken(scores.logProb), entropy: taken(scores.entropy) };
    tape.dispose();
    return released;
  }

  /** Cross entropy over the completions and their ends: what a warm start and supervised systems ask for. */
  async imitate(demonstrations, { measure }) {
    const { tokenizer, engine } = this;
    const rows = demonstrations.map(({ question: prompt, completion }) => {
      const ids = Int32Array.of(...tokenizer.encode(completion), tokenizer.endOfSequence);
      return { prompt, actions: { kind: "tokens", length: ids.length, ids } };
    });
    const forward = this.forward(rows);
    const tokens = forward.logProb.size;
    const values = measure ? await forward.logProb.read() : null;
    const gradient = engine.tensor(new Float32Array(tokens).fill(-1 / tokens));
    forward.backward({ logProb: gradient });
    gradient.dispose();
    return values && -values.reduce((sum, value) => sum + value, 0) / tokens;
  }

  clone() {
    const copy = new WindowPolicy(this.engine, this.tokenizer, this.shape);
    for (const [i, { value }] of this.parameters.entries()) {
      copy.parameters[i].value.write(value.readSync());
    }
    return copy;
  }

  async save(folder) {
    await mkdir(folder, { recursive: true });
    const stored = this.parameters.map(async ({ name, value }) => {
      return [name, { dtype: "f32", shape: value.shape, data: await value.read() }];
    });
    await writeSafetensors(join(folder, "model.safetensors"), await Promise.all(stored));
  }

  async load(folder) {
    const { tensors } = await readSafetensors(join(folder, "model.safetensors"));
    for (const { name, value } of this.parameters) {
      const stored = tensors.get(name);
      if (stored?.shape.join() !== value.shape.join()) {
        throw new FiresteelError(
          "ERR_CHECKPOINT",
          `Expected ${name} [${value.shape}] in ${folder}`,
        );
      }
      value.write(stored.data);
    }
  }

  dispose() {
    for (const parameter of this.parameters) parameter.dispose();
  }
}

const [out, steps = "200"] = process.argv.slice(2);
const run = out !== undefined && existsSync(out) ? { resume: out } : { out };

const engine = new Engine({ device: "cpu" });
const path = fileURLToPath(new URL("larger-digit.jsonl", import.meta.url));
const task = await datasetTask({ path, evaluation: { share: 0.2 } });
const policy = new WindowPolicy(engine, new CharTokenizer(task.alphabet), { seed: 1 });
const weights = policy.parameters.reduce((sum, { value }) => sum + value.size, 0);
console.log(`which digit is larger: ${task.train.length} questions, ${weights} weights`);

await train({
  ...{ engine, policy, task, system: "grpo", seed: 1, ...run, saveSteps: 40 },
  ...{ steps: Number(steps), promptsPerStep: 32, numGenerations: 8, minibatchSize: 256 },
  ...{ maxCompletionLength: 2, learningRate: 5e-3, evalSteps: 40, evalSamples: 16 },
  onStep({ step, metrics }) {
    const accuracy = metrics["eval/accuracy"];
    if (accuracy !== null) console.log(`step ${step}: ${accuracy.toFixed(2)} of unseen ones right`);
  },
});
policy.dispose();
engine.dispose();
