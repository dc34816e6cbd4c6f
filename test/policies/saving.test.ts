import { readdir, readFile, truncate, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { readSafetensors, type StoredTensor, writeSafetensors } from "../../src/nn/safetensors.js";
import { CharTokenizer } from "../../src/policies/token/charTokenizer.js";
import { type TokenConfig, tinyConfig } from "../../src/policies/token/config.js";
import { TokenPolicy } from "../../src/policies/token/tokenPolicy.js";
import { temporaryFolder } from "../folders.js";
import { awkward, floats, plain, policyOf, rows, values } from "./rows.js";

const engine = new Engine({ device: "cpu" });
afterAll(() => engine.dispose());

let directory: string;
beforeEach(async () => {
  directory = await temporaryFolder();
});

const weights = () => join(directory, "model.safetensors");
const tokenizer = new CharTokenizer("abcdefghij");

async function rewrite(change: (tensors: Map<string, StoredTensor>) => void): Promise<void> {
  const tensors = new Map((await readSafetensors(weights())).tensors);
  change(tensors);
  await writeSafetensors(weights(), tensors);
}

describe("a saved policy", () => {
  it.each([
    ["plain", plain],
    ["awkward", awkward],
  ])("gives equal log-probs when opened, and when loaded into another: %s", async (_, config) => {
    const policy = policyOf(engine, config);
    await policy.save(directory);
    const expected = floats(policy.score(rows).logProb);
    const opened = await TokenPolicy.open(engine, directory);
    expect(opened.config).toEqual(policy.config);
    expect(floats(opened.score(rows).logProb)).toEqual(expected);
    const other = policyOf(engine, config, 2);
    expect(floats(other.score(rows).logProb)).not.toEqual(expected);
    await other.load(directory);
    expect(floats(other.score(rows).logProb)).toEqual(expected);
  });

  it("keeps bf16 weights as they are, and changes the type where it is told to", async () => {
    const policy = policyOf(engine, { ...awkward, dtype: "bf16" });
    await policy.save(directory);
    const { tensors } = await readSafetensors(weights());
    expect(new Set([...tensors.values()].map(({ dtype }) => dtype))).toEqual(new Set(["bf16"]));
    const opened = await TokenPolicy.open(engine, directory);
    expect(opened.config.dtype).toBe("bf16");
    const bits = (of: TokenPolicy) => of.parameters.map(({ value }) => value.readSync());
    expect(bits(opened)).toEqual(bits(policy));
    expect(bits(policy.clone())).toEqual(bits(policy));
    const wide = await TokenPolicy.open(engine, directory, { dtype: "f32" });
    expect(wide.parameters.map(({ value }) => value.readSync())).toEqual(
      policy.parameters.map(({ value }) => values(value)),
    );
    await wide.save(directory);
    const other = policyOf(engine, { ...awkward, dtype: "bf16" }, 2);
    await other.load(directory);
    expect(bits(other)).toEqual(bits(policy));
    await expect(TokenPolicy.open(engine, directory, { dtype: "f16" as never })).rejects.toThrow(
      "dtype",
    );
  });

  it("is the same bytes when saved again", async () => {
    await policyOf(engine, awkward).save(directory);
    const first = await readFile(weights());
    await (await TokenPolicy.open(engine, directory)).save(directory);
    expect(await readFile(weights())).toEqual(first);
  });

  it("has the names and shapes of Hugging Face's Qwen and Llama", async () => {
    await policyOf(engine, awkward).save(directory);
    const { tensors } = await readSafetensors(weights());
    const layer = "model.layers.1";
    expect(tensors.get("model.embed_tokens.weight")!.shape).toEqual([11, 18]);
    expect(tensors.get(`${layer}.self_attn.q_proj.weight`)!.shape).toEqual([24, 18]);
    expect(tensors.get(`${layer}.self_attn.k_proj.bias`)!.shape).toEqual([12]);
    expect(tensors.get(`${layer}.self_attn.o_proj.weight`)!.shape).toEqual([18, 24]);
    expect(tensors.get(`${layer}.self_attn.q_norm.weight`)!.shape).toEqual([6]);
    expect(tensors.get(`${layer}.mlp.down_proj.weight`)!.shape).toEqual([18, 22]);
    expect(tensors.get(`${layer}.post_attention_layernorm.weight`)!.shape).toEqual([18]);
    expect(tensors.has("model.norm.weight")).toBe(true);
    expect(tensors.has("lm_head.weight")).toBe(false);
  });

  it("keeps its tokenizer beside the weights", async () => {
    await TokenPolicy.create(engine, plain, { tokenizer }).save(directory);
    const opened = await TokenPolicy.open(engine, directory);
    expect([...opened.tokenizer!.encode("ja")]).toEqual([9, 0]);
    expect(opened.tokenizer!.endOfSequence).toBe(10);
    expect((await readdir(directory)).sort()).toEqual([
      "config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
  });

  it("may have weights in bf16 or f16", async () => {
    const policy = policyOf(engine, plain);
    await policy.save(directory);
    const name = "lm_head.weight";
    for (const [dtype, bits] of [
      ["bf16", 0xbfc0],
      ["f16", 0xbe00],
    ] as const) {
      const data = new Uint16Array(11 * 18).fill(bits);
      await rewrite((tensors) => tensors.set(name, { dtype, shape: [11, 18], data }));
      const opened = await TokenPolicy.open(engine, directory);
      const head = opened.parameters.find((parameter) => parameter.name === name)!;
      expect(new Set(floats(head.value))).toEqual(new Set([-1.5]));
    }
  });
});

describe("a damaged or foreign policy", () => {
  const damages: [string, () => Promise<unknown>, string][] = [
    ["no configuration", () => unlink(join(directory, "config.json")), "does not exist"],
    ["a broken configuration", () => writeFile(join(directory, "config.json"), "{"), "not JSON"],
    ["no weights", () => unlink(weights()), "no such file"],
    ["cut weights", () => truncate(weights(), 5000), "ends at byte"],
    [
      "a missing weight",
      () => rewrite((t) => t.delete("model.norm.weight")),
      "model.norm.weight [18]",
    ],
    [
      "a weight of another shape",
      () =>
        rewrite((t) =>
          t.set("model.norm.weight", { dtype: "f32", shape: [3, 6], data: new Float32Array(18) }),
        ),
      "its shape is [3, 6]",
    ],
    [
      "a weight that is no float",
      () =>
        rewrite((t) =>
          t.set("model.norm.weight", { dtype: "i32", shape: [18], data: new Int32Array(18) }),
        ),
      "not i32",
    ],
    [
      "a weight too many",
      () => rewrite((t) => t.set("extra", { dtype: "u8", shape: [0], data: new Uint8Array(0) })),
      "1 more: extra",
    ],
    [
      "a broken tokenizer",
      () => writeFile(join(directory, "tokenizer.json"), "[]"),
      "tokenizer.json",
    ],
  ];

  it.each(damages)("is refused with what is wrong: %s", async (_, damage, reason) => {
    await policyOf(engine, plain, 3).save(directory);
    await damage();
    const error = { code: "ERR_CHECKPOINT", message: expect.stringContaining(reason) };
    await expect(TokenPolicy.open(engine, directory)).rejects.toMatchObject(error);
    const policy = policyOf(engine, plain, 4);
    const before = policy.parameters.map(({ value }) => value.readSync());
    await expect(policy.load(directory)).rejects.toMatchObject(error);
    expect(policy.parameters.map(({ value }) => value.readSync())).toEqual(before);
  });

  it("leaves no memory behind", async () => {
    await policyOf(engine, plain).save(directory);
    await rewrite((t) => t.delete("model.norm.weight"));
    const before = engine.memory().live;
    await expect(TokenPolicy.open(engine, directory)).rejects.toThrow("model.norm.weight");
    expect(engine.memory().live).toBe(before);
  });

  it("does not fit a policy of another shape or with another tokenizer", async () => {
    await TokenPolicy.create(engine, plain, { tokenizer }).save(directory);
    const misfit = (reason: string) => ({
      code: "ERR_CHECKPOINT",
      message: expect.stringContaining(reason),
    });
    const wider = TokenPolicy.create(engine, { ...plain, intermediateSize: 24 }, { tokenizer });
    await expect(wider.load(directory)).rejects.toMatchObject(misfit("intermediateSize is 22"));
    const mute = TokenPolicy.create(engine, plain);
    await expect(mute.load(directory)).rejects.toMatchObject(misfit("tokenizer"));
    const other = TokenPolicy.create(engine, plain, { tokenizer: new CharTokenizer("0123456789") });
    await expect(other.load(directory)).rejects.toMatchObject(misfit("tokenizer"));
  });

  it("cannot be written into a folder that is not there", async () => {
    const nowhere = join(directory, "nowhere");
    await expect(policyOf(engine, plain).save(nowhere)).rejects.toMatchObject({
      code: "ERR_CHECKPOINT",
      message: expect.stringContaining(nowhere),
    });
  });
});

describe("a fresh policy", () => {
  it("depends on its seed alone", () => {
    const values = (seed: number) =>
      TokenPolicy.create(engine, plain, { seed }).parameters.map(({ value }) => value.readSync());
    expect(values(1)).toEqual(values(1));
    expect(values(1)).not.toEqual(values(2));
  });

  it("has the size that the tiny shape was measured with", () => {
    const { parameters } = TokenPolicy.create(engine, tinyConfig(16));
    expect(parameters.reduce((sum, { value }) => sum + value.size, 0)).toBe(84_288);
  });

  const bad: [Partial<TokenConfig>, string][] = [
    [{ vocabSize: 0 }, "vocabSize"],
    [{ numKvHeads: 3 }, "numKvHeads"],
    [{ headDim: 5 }, "headDim"],
    [{ qkNorm: 1 as unknown as boolean }, "qkNorm"],
    [{ dtype: "f16" as "bf16" }, "dtype"],
    [{ layers: 2 } as object, "layers"],
    [{ vocabSize: 10 }, "vocabSize"],
  ];
  it.each(bad)("refuses %j", (change, name) => {
    expect(() => TokenPolicy.create(engine, { ...plain, ...change }, { tokenizer })).toThrow(name);
  });
});
