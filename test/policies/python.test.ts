import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { CharTokenizer } from "../../src/policies/token/charTokenizer.js";
import { TokenPolicy } from "../../src/policies/token/tokenPolicy.js";
import { awkward, floats, plain } from "./rows.js";

const python = process.env.FIRESTEEL_PYTHON ?? "python3";
const script = join(import.meta.dirname, "..", "..", "examples", "run_policy.py");

function hasTorch(): boolean {
  try {
    execFileSync(python, ["-c", "import torch"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

const torch = hasTorch();
if (!torch) console.log(`a saved policy in PyTorch is skipped: ${python} cannot import torch`);

describe.skipIf(!torch)("a saved policy, run by PyTorch alone", () => {
  const engine = new Engine({ device: "cpu" });
  const tokenizer = new CharTokenizer("abcdefghij");
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "firesteel-python-"));
  });
  afterAll(async () => {
    await rm(directory, { recursive: true });
    engine.dispose();
  });

  it.each([
    ["plain", plain],
    ["grouped queries, biases, normalised heads, tied embeddings", awkward],
    ["bf16 weights", { ...plain, dtype: "bf16" as const }],
  ])("has the same distribution and the same greedy completion: %s", async (_, config) => {
    const policy = TokenPolicy.create(engine, config, { tokenizer, seed: 5 });
    await policy.save(directory);
    const prompt = {
      id: "p",
      messages: [],
      label: null,
      columns: {},
      tokens: tokenizer.encode("hjaab"),
    };
    const printed = execFileSync(python, [script, directory, "hjaab", "--tokens", "6"], {
      encoding: "utf8",
    });
    const theirs = JSON.parse(printed) as { ids: number[]; logits: number[]; completion: string };
    expect(theirs.ids).toEqual([...prompt.tokens]);

    const every = Array.from({ length: config.vocabSize }, (_, id) => ({
      prompt,
      actions: { kind: "tokens" as const, length: 1, ids: Int32Array.of(id) },
    }));
    const ours = floats(policy.score(every).logProb);
    const norm = Math.log(theirs.logits.reduce((sum, z) => sum + Math.exp(z), 0));
    // Activations of 16 bits are rounded here, not there.
    const tolerance = config.dtype === "bf16" ? 0.05 : 1e-4;
    for (const [id, logProb] of ours.entries()) {
      expect(Math.abs(logProb - (theirs.logits[id]! - norm))).toBeLessThan(tolerance);
    }
    if (config.dtype === "bf16") return;
    const [greedy] = await policy.sample({
      prompts: [prompt],
      counts: [1],
      streams: [[1, 2]],
      temperature: 1,
      maxCompletionLength: 6,
      greedy: true,
      stop: [],
      hook: null,
      signal: null,
    });
    expect(theirs.completion).toBe(greedy!.text);
  });
});
