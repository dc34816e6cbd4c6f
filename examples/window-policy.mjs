// A policy of one's own on the tape: the last characters through two layers (Bengio et al. 2003).
// custom-policy.mjs trains it.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { FiresteelError, logProb } from "firesteel";
import * as nn from "firesteel/nn";

const window = 6; // characters that the network sees
const width = 8; // numbers per character
const hidden = 64;

/** What `train` asks of a policy: the interface `Policy`, docs/concepts/custom-policy.md. */
export class WindowPolicy {
  kind = "tokens";
  maxLength = 64;

  constructor(engine, tokenizer) {
    this.engine = engine;
    this.tokenizer = tokenizer;
    const fresh = (spec) => {
      const values = nn.initialValues(spec, 1, { std: 0.3, residualLayers: 1 });
      return new nn.Parameter(spec.name, engine.tensor(values, spec.shape));
    };
    const characters = tokenizer.vocabularySize;
    // One more row than characters, for positions before the beginning.
    this.embedding = fresh({
      name: "embedding",
      shape: [characters + 1, width],
      role: "embedding",
    });
    this.inner = new nn.Linear(fresh, { name: "inner", inputs: window * width, outputs: hidden });
    this.outer = new nn.Linear(fresh, { name: "outer", inputs: hidden, outputs: characters });
    this.parameters = [this.embedding, ...this.inner.parameters, ...this.outer.parameters];
  }

  /** The network: from lists of token ids to the logits of each one's next token, [contexts, vocabulary]. */
  logits(tape, contexts) {
    const ids = new Int32Array(contexts.length * window).fill(this.tokenizer.vocabularySize);
    for (const [i, context] of contexts.entries()) {
      const seen = context.slice(-window);
      ids.set(seen, (i + 1) * window - seen.length);
    }
    const embedded = tape.rows(tape.parameter(this.embedding), tape.own(this.engine.tensor(ids)));
    const inner = this.inner.forward(tape, tape.view(embedded, [contexts.length, window * width]));
    return this.outer.forward(tape, tape.silu(inner));
  }

  /** Rollouts: one token at a time for all that have not ended. Each draws from a random stream of its own. */
  async sample({ prompts, counts, streams, stop, maxCompletionLength, signal, ...how }) {
    const ends = new Set([...stop, this.tokenizer.endOfSequence]);
    const rollouts = prompts
      .flatMap((prompt, p) => new Array(counts[p]).fill(prompt))
      .map((prompt, r) => ({ prompt, random: nn.random(streams[r]), ids: [], logProbs: [] }));
    for (let live = rollouts; live.length > 0; live = live.filter(({ finish }) => !finish)) {
      if (signal?.aborted) throw new FiresteelError("ERR_ABORTED", "Sampling was aborted");
      const { ids, logProbs } = this.drawNext(live, how);
      for (const [i, rollout] of live.entries()) {
        rollout.ids.push(ids[i]);
        rollout.logProbs.push(logProbs[i]);
        if (ends.has(ids[i])) rollout.finish = "stop";
        else if (rollout.ids.length === maxCompletionLength) rollout.finish = "length";
      }
    }
    return rollouts.map(({ prompt, ids, logProbs, finish }, id) => ({
      id,
      prompt,
      finish,
      actions: { kind: "tokens", length: ids.length, ids: Int32Array.from(ids) },
      mask: new Uint8Array(ids.length).fill(1),
      columns: { samplerLogProb: { level: "action", values: Float32Array.from(logProbs) } },
      text: this.tokenizer.decode(Int32Array.from(ids)),
      keys: { prompt: prompt.id },
      rewards: {},
      reward: null,
      policyVersion: 0,
      info: {},
    }));
  }

  /** The next token of each rollout, with its log-prob. The scope frees what was needed for it. */
  drawNext(rollouts, { temperature, greedy }) {
    return this.engine.scope(() => {
      const tape = new nn.Tape(this.engine, { grad: false });
      const contexts = rollouts.map(({ prompt, ids }) => [...prompt.tokens, ...ids]);
      const { value } = this.logits(tape, contexts);
      const uniform = Float32Array.from(rollouts, ({ random }) => random.uniform32());
      const drawn = nn.sample(this.engine, value, greedy ? { greedy } : { uniform, temperature });
      const scored = logProb(this.engine, value, drawn, { temperature });
      const next = { ids: drawn.readSync(), logProbs: scored.logProb.readSync() };
      tape.dispose();
      return next;
    });
  }

  /** Log-probs of all actions, row after row; `backward` takes the gradient of the loss on to the weights. */
  forward(rows, { temperature = 1, entropy = false } = {}, grad = true) {
    const [contexts, ids, trained, rowOffsets] = [[], [], [], [0]];
    for (const { prompt, actions, mask } of rows) {
      const tokens = [...prompt.tokens, ...actions.ids];
      for (const [t, id] of actions.ids.entries()) {
        contexts.push(tokens.slice(0, prompt.tokens.length + t));
        ids.push(id);
        trained.push(mask?.[t] ?? 1);
      }
      rowOffsets.push(ids.length);
    }
    const tape = new nn.Tape(this.engine, { grad });
    const mask = tape.own(this.engine.tensor(Uint8Array.from(trained)));
    const targets = tape.own(this.engine.tensor(Int32Array.from(ids)));
    const how = { temperature, entropy, mask };
    const scores = tape.logProb(this.logits(tape, contexts), targets, how);
    return {
      tape,
      scores,
      rowOffsets: Int32Array.from(rowOffsets),
      logProb: scores.logProb.value,
      entropy: scores.entropy?.value ?? null,
      backward(gradient) {
        const given = ["logProb", "entropy"].filter((name) => gradient[name]);
        tape.backward(given.map((name) => [scores[name], gradient[name]]));
      },
      dispose: () => tape.dispose(),
    };
  }

  /** The same without a gradient: the scores leave the tape, the rest goes. */
  score(rows, options) {
    const { tape, scores, rowOffsets } = this.forward(rows, options, false);
    const logProb = tape.release(scores.logProb);
    const entropy = scores.entropy ? tape.release(scores.entropy) : null;
    tape.dispose();
    return { rowOffsets, logProb, entropy };
  }

  /** Cross entropy of the completions and their ends: for a warm start and for supervised systems. */
  async imitate(demonstrations, { measure }) {
    const rows = demonstrations.map(({ question, completion }) => {
      const ids = [...this.tokenizer.encode(completion), this.tokenizer.endOfSequence];
      return { prompt: question, actions: { ids: Int32Array.from(ids) } };
    });
    const { logProb, backward } = this.forward(rows);
    const { size } = logProb;
    const values = measure ? await logProb.read() : null;
    const gradient = this.engine.tensor(new Float32Array(size).fill(-1 / size));
    backward({ logProb: gradient });
    gradient.dispose();
    return values && -values.reduce((sum, value) => sum + value, 0) / size;
  }

  clone() {
    const copy = new WindowPolicy(this.engine, this.tokenizer);
    for (const [i, { value }] of this.parameters.entries()) {
      copy.parameters[i].value.write(value.readSync());
    }
    return copy;
  }

  async save(folder) {
    await mkdir(folder, { recursive: true });
    const stored = [];
    for (const { name, value } of this.parameters) {
      stored.push([name, { dtype: "f32", shape: value.shape, data: await value.read() }]);
    }
    await nn.writeSafetensors(join(folder, "model.safetensors"), stored);
  }

  async load(folder) {
    const { tensors } = await nn.readSafetensors(join(folder, "model.safetensors"));
    for (const { name, value } of this.parameters) {
      const stored = tensors.get(name);
      if (stored?.shape.join() !== value.shape.join()) {
        const expected = `${name} of shape [${value.shape}]`;
        throw new FiresteelError("ERR_CHECKPOINT", `Expected ${expected} in ${folder}`);
      }
      value.write(stored.data);
    }
  }

  dispose() {
    for (const parameter of this.parameters) parameter.dispose();
  }
}
