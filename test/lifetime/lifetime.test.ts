import { describe, expect, it } from "vitest";

// Both run on dist, as `npm run test:lifetime` does; `npm test` builds it before.
const load = (name: string) => import(new URL(name, import.meta.url).href);

describe("in short", { timeout: 180_000 }, () => {
  it("engines and tensors leave no thread, file or byte behind", async () => {
    const { findingsOf } = await load("child.mjs");
    expect(findingsOf("engines.mjs", 30)).toEqual([]);
  });

  it("workers are terminated at any moment of their work", async () => {
    const { findingsOf } = await load("child.mjs");
    expect(findingsOf("terminate.mjs", 4, 2)).toEqual([]);
  });

  it("calls are aborted at every await", async () => {
    const { abortEverywhere, calls } = await load("aborts.mjs");
    const short: Record<string, number> = {
      ...{ read: 8, solve: 5, score: 5, "guarded reward": 5, OpenAISampler: 5 },
      ...{ "serve, the client gone": 4, "serve, the server aborted and closed": 4 },
      ...{ replicate: 4, "train grpo, abort": 3 },
    };
    for (const scenario of calls) {
      const points = short[scenario.name];
      if (points === undefined) continue;
      const { findings, tried } = await abortEverywhere(scenario, { points, again: 4 });
      expect(findings).toEqual([]);
      expect(tried).toBeGreaterThan(2);
    }
  });
});
