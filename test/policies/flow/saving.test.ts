import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { Engine } from "../../../src/engine/engine.js";
import { FlowPolicy } from "../../../src/policies/flow/flowPolicy.js";
import { openPolicy } from "../../../src/policies/openPolicy.js";
import { tinyConfig } from "../../../src/policies/token/config.js";
import { TokenPolicy } from "../../../src/policies/token/tokenPolicy.js";
import { temporaryFolder } from "../../folders.js";
import { flowOf, policyOf, prompt, request, small } from "./flows.js";

const engine = new Engine({ device: "cpu" });
afterAll(() => engine.dispose());

let directory: string;
beforeEach(async () => {
  directory = await temporaryFolder();
});

const ask = request({ prompts: [prompt(2)], counts: [2] });
const sampledBy = async (policy: FlowPolicy) => (await policy.sample(ask)).map(flowOf);

describe("a saved flow policy", () => {
  test("samples the same when opened, loaded into another, or cloned", async () => {
    const policy = policyOf(engine, { ...small, shift: 3 });
    await policy.save(directory);
    const expected = await sampledBy(policy);
    const opened = await openPolicy(engine, directory);
    expect(opened).toBeInstanceOf(FlowPolicy);
    expect(opened.config).toEqual(policy.config);
    expect(await sampledBy(opened as FlowPolicy)).toEqual(expected);
    const other = policyOf(engine, { ...small, shift: 3 }, 2);
    expect(await sampledBy(other)).not.toEqual(expected);
    await other.load(directory);
    expect(await sampledBy(other)).toEqual(expected);
    const clone = policy.clone();
    policy.parameters[0]!.value.write(new Float32Array(policy.parameters[0]!.value.size));
    expect(await sampledBy(clone)).toEqual(expected);
    for (const one of [policy, opened, other, clone]) one.dispose();
  });

  test("of another shape does not load", async () => {
    await policyOf(engine).save(directory);
    const wide = FlowPolicy.create(engine, { ...small, hiddenSize: 14 });
    await expect(wide.load(directory)).rejects.toThrow(
      /does not fit: its hiddenSize is 13, this policy's 14/,
    );
  });

  test("a folder of another kind is refused by name", async () => {
    await policyOf(engine).save(directory);
    await expect(TokenPolicy.open(engine, directory)).rejects.toThrow(
      /expected one of llama, .* for model_type but found "firesteel-flow"/,
    );
    await TokenPolicy.create(engine, tinyConfig(5)).save(directory);
    await expect(FlowPolicy.open(engine, directory)).rejects.toThrow(
      /expected "firesteel-flow" for model_type but found "llama"/,
    );
    expect(await openPolicy(engine, directory)).toBeInstanceOf(TokenPolicy);
  });

  test("a damaged or missing configuration, and 16 bits, are refused", async () => {
    await policyOf(engine).save(directory);
    await expect(openPolicy(engine, directory, { dtype: "bf16" })).rejects.toThrow(
      /Expected "f32" \(a flow policy has no other\) for dtype/,
    );
    const path = join(directory, "config.json");
    const config = JSON.parse(await readFile(path, "utf8"));
    await writeFile(path, JSON.stringify({ ...config, hidden_size: "13" }));
    await expect(openPolicy(engine, directory)).rejects.toThrow(/config\.json: .*hiddenSize/);
    await writeFile(path, "{");
    await expect(openPolicy(engine, directory)).rejects.toMatchObject({ code: "ERR_CHECKPOINT" });
    await rm(path);
    await expect(openPolicy(engine, directory)).rejects.toThrow(/does not exist/);
    await expect(FlowPolicy.open(engine, directory)).rejects.toThrow(/does not exist/);
  });
});
