import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { TokenPolicy } from "../../src/policies/token/tokenPolicy.js";
import { EmbeddedSampler } from "../../src/samplers/embedded.js";
import { plain, prompt, request } from "../policies/rows.js";

const engine = new Engine({ device: "cpu" });
afterAll(() => engine.dispose());

describe("EmbeddedSampler", () => {
  const policy = TokenPolicy.create(engine, plain, { seed: 2 });
  const sampler = new EmbeddedSampler(policy);
  const wanted = request({ prompts: [prompt("a", [1, 2])], counts: [4] });

  it("hands on the policy's rollouts with the version of the weights", async () => {
    const own = await policy.sample(wanted);
    expect(await sampler.sample(wanted)).toEqual(own);
    await sampler.refresh(3);
    const later = own.map((trajectory) => ({ ...trajectory, policyVersion: 3 }));
    expect(await sampler.sample(wanted)).toEqual(later);
  });

  it("does not claim what it refuses", async () => {
    for (const answer of ["force", "fork", "drop"] as const) {
      expect(sampler.capabilities.has(answer)).toBe(false);
    }
    const hook = { top: 1, answers: [], decide: () => ({ do: "continue" }) as const };
    await expect(sampler.sample({ ...wanted, hook })).rejects.toMatchObject({
      code: "ERR_SAMPLER",
    });
  });
});
