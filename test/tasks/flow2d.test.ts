import { describe, expect, test } from "vitest";
import type { Trajectory } from "../../src/contract/index.js";
import { drawPoint, flow2d, goldReward, modeCenter, proxyReward } from "../../src/tasks/flow2d.js";
import { uniformAt } from "../../src/trainer/random.js";

describe("the flow2d task", () => {
  test("has four modes at radius 2 for each of eight conditions", () => {
    expect(flow2d.train.map(({ columns }) => columns.condition)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    const near = (got: readonly number[], want: readonly number[]) =>
      got.forEach((value, i) => {
        expect(value).toBeCloseTo(want[i]!, 12);
      });
    near(modeCenter(0, 0), [2, 0]);
    near(modeCenter(0, 1), [0, 2]);
    near(modeCenter(1, 0), [Math.SQRT2, Math.SQRT2]);
    near(modeCenter(2, 3), [2, 0]);
  });

  // m = (2, 0): the proxy is best at (3, 0), gold at (2, 0).
  test.each([
    [[3, 0], 1, Math.exp(-2)],
    [[2, 0], 0.5, 1],
    [[-2, 0], 1 - 5 / 2, Math.exp(-32)],
    [[2, 0.5], 1 - Math.hypot(1, 0.5) / 2, Math.exp(-0.5)],
  ] as const)("%j is worth proxy %d and gold %d", async (point, proxy, gold) => {
    expect(proxyReward(point, 0)).toBeCloseTo(proxy, 12);
    expect(goldReward(point, 0)).toBeCloseTo(gold, 12);
    const states = Float32Array.of(9, 9, ...point);
    const trajectory = {
      actions: { kind: "flow", length: 1, width: 2, states },
      prompt: { columns: { condition: 0 } },
    } as unknown as Trajectory;
    const ctx = { trajectories: [trajectory] } as never;
    expect((await flow2d.rewards.proxy!(ctx))[0]).toBeCloseTo(proxy, 6);
    expect((await flow2d.rewards.gold!(ctx))[0]).toBeCloseTo(gold, 6);
  });

  test("demonstrations are its modes in equal shares, with the std of each", () => {
    const uniform = uniformAt(3, "stage");
    const count = 4000;
    const shares = [0, 0, 0, 0];
    let square = 0;
    for (let i = 0; i < count; ++i) {
      const [x, y] = drawPoint(5, uniform);
      const distances = [0, 1, 2, 3].map((k) => {
        const [a, b] = modeCenter(5, k);
        return Math.hypot(x! - a, y! - b);
      });
      const least = Math.min(...distances);
      shares[distances.indexOf(least)]! += 1 / count;
      square += least ** 2 / (2 * count);
    }
    // Standard errors of 4,000 draws: .007 for a share, .0007 for the variance.
    for (const share of shares) expect(Math.abs(share - 0.25)).toBeLessThan(0.03);
    expect(Math.abs(square - 0.25 ** 2)).toBeLessThan(0.003);
    const { question, target } = flow2d.warmStart[0]!.draw(uniform);
    expect(flow2d.train).toContain(question);
    expect(target).toHaveLength(2);
  });
});
