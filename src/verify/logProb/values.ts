import type { Engine } from "../../engine/engine.js";
import { logProb, logProbBackward } from "../../engine/kernels/logProb.js";
import { logProbTable } from "../../engine/kernels/logProbTable.js";
import { type Check, firstOf } from "../check.js";
import { identical } from "../compare.js";
import { type Float, widen } from "../inputs.js";
import {
  type CaseOptions,
  checkBackward,
  checkForward,
  compareBackward,
  compareForward,
  forward,
  gradients,
  makeCase,
  reading,
  upload,
} from "./cases.js";
import { evenly, shardedBackward, shardedForward } from "./shards.js";

const family = "log-prob";
const floats = ["f32", "bf16", "f16"] as const;

/** One combination of the kernel's table: what it asks for against float64, and its gradients. */
function combination(choices: Readonly<Record<string, string>>): Check {
  const { logits: dtype, extras, temperature, vocabulary } = choices;
  const entropy = extras === "entropy" || extras === "both";
  const vocabMean = extras === "vocabMean" || extras === "both";
  return {
    family,
    name: `${dtype}, extras ${extras}, temperature ${temperature}, ${vocabulary}`,
    run(engine) {
      const c = makeCase({
        dtype: dtype as Float,
        tokens: 6,
        vocab: 45,
        temperature: temperature === "row" ? "rows" : 0.8,
        masked: true,
        entropy,
        vocabMean,
        seed: 21,
      });
      const asked = { entropy, vocabMean };
      if (vocabulary === "sharded") {
        const bounds = evenly(c.vocab, 4);
        const got = shardedForward(engine, c, bounds, asked);
        return firstOf(
          compareForward(engine, c, got),
          compareBackward(c, shardedBackward(engine, c, bounds, got)),
        );
      }
      const z = upload(engine, c);
      const got = logProb(engine, z, c.targets, { ...reading(c), ...asked });
      const dLogits = logProbBackward(engine, {
        logits: z,
        targets: c.targets,
        stats: got.stats,
        ...reading(c),
        ...gradients(c, got),
      });
      return firstOf(
        compareForward(engine, c, got),
        compareBackward(c, widen(dLogits.readSync(), c.dtype)),
      );
    },
  };
}

/** Every non-empty choice of gradients from above, -inf logits and all. */
function gradientChoices(dtype: Float): Check[] {
  const all = [1, 2, 3, 4, 5, 6, 7].map((bits) => ({
    logProb: (bits & 1) !== 0,
    entropy: (bits & 2) !== 0,
    vocabMean: (bits & 4) !== 0,
  }));
  return all.map((choice) => {
    const names = Object.entries(choice).flatMap(([name, chosen]) => (chosen ? [name] : []));
    return {
      family,
      name: `backward ${dtype} from ${names.join(", ")}`,
      run: (engine) =>
        checkBackward(engine, makeCase({ dtype, tokens: 5, vocab: 100, ...choice }), true),
    };
  });
}

const asking: Check = {
  family,
  name: "asking for entropy or vocabulary mean changes no bit of the rest",
  run(engine) {
    const c = makeCase({ tokens: 5, vocab: 1003, masked: true });
    const z = upload(engine, c);
    const all = forward(engine, c, z);
    const plain = logProb(engine, z, c.targets, reading(c));
    const entropy = logProb(engine, z, c.targets, { ...reading(c), entropy: true });
    const vocabMean = logProb(engine, z, c.targets, { ...reading(c), vocabMean: true });
    return firstOf(
      ...[plain, entropy, vocabMean].flatMap((some) => [
        identical("logProb", some.logProb, all.logProb),
        identical("stats", some.stats, all.stats),
      ]),
      identical("entropy", entropy.entropy!, all.entropy!),
      identical("vocabMean", vocabMean.vocabMean!, all.vocabMean!),
    );
  },
};

/** Every dtype and size against float64, forward and backward; every combination of the table. */
export function logProbValueChecks(device: Engine["device"]): Check[] {
  const checks: Check[] = [];
  // 31 and 50,260 leave rows unaligned and a partial vector; 151,936 is Qwen's vocabulary.
  const sizes = [1, 2, 31, 1000, 4096];
  const large = device === "emulated" ? [] : [50260, 151936];
  for (const dtype of floats) {
    for (const vocab of [...sizes, ...large]) {
      const tokens = vocab > 4096 ? 3 : 5;
      for (const temperature of [1, 0.7]) {
        const masked = temperature !== 1;
        const make = () => makeCase({ dtype, tokens, vocab, temperature, masked, seed: vocab });
        const name = `${dtype} V=${vocab} temperature ${temperature}${masked ? " masked" : ""}`;
        checks.push(
          { family, name: `forward ${name}`, run: (engine) => checkForward(engine, make()) },
          {
            family,
            name: `backward ${name}${masked ? " in place" : ""}`,
            run: (engine) => checkBackward(engine, make(), masked),
          },
        );
      }
    }
  }
  const add = (name: string, options: CaseOptions) =>
    checks.push(
      { family, name: `forward ${name}`, run: (e) => checkForward(e, makeCase(options)) },
      { family, name: `backward ${name}`, run: (e) => checkBackward(e, makeCase(options), false) },
    );
  if (device === "emulated") add("f32 V=50260, one row", { tokens: 1, vocab: 50260 });
  add("no rows", { tokens: 0, vocab: 31 });
  add("one row", { tokens: 1, vocab: 31 });
  add("many rows", { tokens: device === "emulated" ? 40 : 3000, vocab: 31 });
  add("logits around 10,000", { tokens: 4, vocab: 1000, shift: 1e4 });
  add("logits around -200", { tokens: 4, vocab: 1000, shift: -200 });
  add("bf16 logits around -10,000", { tokens: 4, vocab: 1000, shift: -1e4, dtype: "bf16" });
  add("temperature 0.01", { tokens: 4, vocab: 1000, temperature: 0.01 });
  add("temperature 50", { tokens: 4, vocab: 1000, temperature: 50 });
  add("a temperature a row", { tokens: 7, vocab: 1000, temperature: "rows", masked: true });
  for (const dtype of floats) {
    // Rows of 37 start at any address; those of 1,040 on a vector, and end in whole ones.
    add(`${dtype} 31 of 37 columns`, { dtype, tokens: 5, vocab: 31, padding: 6 });
    add(`${dtype} 1,000 of 1,040 columns`, { dtype, tokens: 3, vocab: 1000, padding: 40 });
  }
  return [
    ...checks,
    ...logProbTable.combinations
      .filter(({ refusal }) => refusal === null)
      .map(({ choices }) => combination(choices)),
    ...floats.flatMap(gradientChoices),
    asking,
  ];
}
