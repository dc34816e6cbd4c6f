import { appendFile, mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { TokenPolicy } from "../../src/policies/token/tokenPolicy.js";
import { publishWeights } from "../../src/weights/publishWeights.js";
import { complete, engine, newFolder, newPolicy, post, savedPolicy, started } from "./client.js";

const policies = [1, 2].map((seed) => newPolicy(seed, { maxLength: 2048 }, false));
const asked = { prompt: [1, 2], seed: 1, max_tokens: 12, return_token_ids: true };

async function rollout(policy: TokenPolicy): Promise<number[]> {
  const alone = await started({ policy: await savedPolicy(policy) });
  return (await complete(alone, asked)).body.choices[0].token_ids;
}

describe("a server of published weights", () => {
  it("waits for the first ones, loads each when told, and answers with their version", async () => {
    const directory = join(await newFolder(), "weights");
    const server = await started({ policy: directory, wait: true });
    expect(server.version).toBeNull();
    expect((await fetch(`${server.url}/health`)).status).toBe(503);
    const early = await complete(server, asked);
    expect([early.status, early.body.error.code]).toEqual([503, "no_weights"]);
    expect((await post(server, "/v1/weights", {})).status).toBe(409);

    for (const [i, policy] of policies.entries()) {
      const { version, fingerprint } = await publishWeights(directory, 10 - i, policy);
      const loaded = await post(server, "/v1/weights", { version, fingerprint });
      expect(loaded.status).toBe(200);
      const { body, headers } = await complete(server, asked);
      expect(body).toMatchObject({ weight_version: version, system_fingerprint: fingerprint });
      expect(headers.get("x-weight-version")).toBe(`${version}`);
      expect(body.choices[0].token_ids).toEqual(await rollout(policy));
    }
    expect(server.version).toBe(9);
  });

  it("comes up with the newest ones", async () => {
    const directory = await newFolder();
    for (const [i, policy] of policies.entries()) await publishWeights(directory, i, policy);
    const server = await started({ policy: directory });
    expect(server.version).toBe(1);
  });

  it("refuses damaged ones and goes on with those before", async () => {
    const directory = await newFolder();
    await publishWeights(directory, 1, policies[0]!);
    const server = await started({ policy: directory });
    const before = await complete(server, asked);
    const { folder } = await publishWeights(directory, 2, policies[1]!);
    await appendFile(join(folder, "model.safetensors"), "!");
    const refused = await post(server, "/v1/weights", { version: 2 });
    expect([refused.status, refused.body.error.code]).toEqual([422, "bad_weights"]);
    expect(refused.body.error.message).toContain("model.safetensors");
    await writeFile(join(directory, "weights.json"), '{"format":1');
    expect((await post(server, "/v1/weights", {})).status).toBe(422);
    expect((await complete(server, asked)).body.choices).toEqual(before.body.choices);
  });

  it("says what it has where others are expected", async () => {
    const directory = await newFolder();
    const { fingerprint } = await publishWeights(directory, 4, policies[0]!);
    const server = await started({ policy: directory });
    for (const expected of [{ version: 5 }, { version: 4, fingerprint: "0" }]) {
      const { status, body } = await post(server, "/v1/weights", expected);
      expect(status).toBe(409);
      expect(body.error.message).toContain(`it holds 4 (${fingerprint})`);
    }
    expect((await post(server, "/v1/weights", { version: 4, fingerprint })).status).toBe(200);
    const unknown = await post(server, "/v1/weights", { path: "/etc" });
    expect(unknown.status).toBe(400);
  });

  it("finishes what runs with the weights it began with, and then forgets them", async () => {
    const directory = await newFolder();
    await publishWeights(directory, 1, policies[0]!);
    const server = await started({ policy: directory });
    const before = engine.memory().live;
    const long = { ...asked, max_tokens: 800 };
    const expected = (await complete(server, long)).body.choices[0].token_ids;
    const running = complete(server, long);
    // Runs, and one more waits behind it.
    const waiting = complete(server, { ...long, temperature: 0.5 });
    while (server.active < 2) await new Promise((resolve) => setTimeout(resolve, 2));
    await publishWeights(directory, 2, policies[1]!);
    await post(server, "/v1/weights", { version: 2 });
    expect((await complete(server, asked)).body.weight_version).toBe(2);
    const { body } = await running;
    expect(body.weight_version).toBe(1);
    expect(body.choices[0].token_ids).toEqual(expected);
    expect((await waiting).body.weight_version).toBe(1);
    expect(engine.memory().live).toBe(before);
  });

  it("takes a policy of another shape, too", async () => {
    const directory = await newFolder();
    await publishWeights(directory, 1, policies[0]!);
    const server = await started({ policy: directory });
    await publishWeights(directory, 1, newPolicy(3, { hiddenSize: 32, headDim: 16 }));
    expect((await post(server, "/v1/weights", {})).status).toBe(200);
    expect((await complete(server, { prompt: "1+1=", seed: 1 })).status).toBe(200);
  });
});

describe("a server without weights", () => {
  it("does not come up unless it is to wait", async () => {
    const folder = await newFolder();
    await expect(started({ policy: folder })).rejects.toMatchObject({ code: "ERR_CHECKPOINT" });
    await expect(started({ policy: join(folder, "nowhere") })).rejects.toThrow(/there are none/);
  });

  it("does not come up with damaged ones", async () => {
    const folder = await savedPolicy(policies[0]!);
    await mkdir(join(folder, "old"));
    await rename(join(folder, "model.safetensors"), join(folder, "old", "model.safetensors"));
    const damaged = started({ policy: folder, wait: true });
    await expect(damaged).rejects.toMatchObject({ code: "ERR_CHECKPOINT" });
  });
});

it("options that mean nothing are refused before anything is loaded", async () => {
  for (const options of [
    { port: 70000 },
    { maxBatch: 0 },
    { maxBatches: 3 },
    { timeoutSeconds: 0 },
    { wait: "yes" },
    { apiKey: "" },
    { device: "cpu" as const },
  ]) {
    const server = started({ policy: "nowhere", ...options } as Parameters<typeof started>[0]);
    await expect(server).rejects.toMatchObject({ code: "ERR_OPTION" });
  }
});

it("an address that is taken is refused", async () => {
  const policy = await savedPolicy(policies[0]!);
  const { url } = await started({ policy });
  const port = Number(new URL(url).port);
  await expect(started({ policy, port })).rejects.toThrow(`127.0.0.1:${port}`);
});
