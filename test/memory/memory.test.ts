import { describe, expect, it } from "vitest";

// Runs on dist, as `npm run test:memory` does; `npm test` builds it before.
const load = (name: string) => import(new URL(name, import.meta.url).href);

describe("memory that is refused, in short", { timeout: 180_000 }, () => {
  it("is said, leaves nothing behind and spoils nothing", async () => {
    const { scenarios } = await load("scenarios.mjs");
    const { refuse } = await load("refused.mjs");
    for (const scenario of scenarios) {
      const long = scenario.name.startsWith("train");
      const kernel = scenario.name.startsWith("kernel");
      const points = long ? [90] : kernel ? [1, 2, 4, 6] : [2, 21, 150];
      const { findings } = await refuse(scenario, points);
      expect(findings).toEqual([]);
    }
  });

  it("by the host is an error like any other", async () => {
    const { refuseHost, withoutHost } = await load("host.mjs");
    const missing = withoutHost();
    if (missing !== null) return console.log(`refusals by the host are skipped: ${missing}`);
    const names = ["kernel surrogate", "kernel linearLogProb"];
    const { findings, refused } = refuseHost(names, [1, 2, 3, 5, 8, 13, 21, 34], 60);
    expect(findings).toEqual([]);
    expect(refused).toBeGreaterThan(4);
  });

  it("by a small limit says how much was asked for", async () => {
    const { sweep } = await load("limits.mjs");
    const { findings, refused } = await sweep("flow-grpo", { growth: 4 });
    expect(findings).toEqual([]);
    expect(refused).toBeGreaterThan(0);
  });
});
