import { expect, test } from "vitest";
import { ProgressLine } from "../../src/cli/progress.js";

test.each([80, 120])("the progress line fits %i columns whole", (columns) => {
  let drawn = "";
  const progress = new ProgressLine({
    out: () => {},
    err: (text) => {
      drawn = text;
    },
    interactive: true,
    columns,
  });
  const metrics = { reward: 0.5, "eval/accuracy": 1, "tokens_per_second/generate": 52_753 };
  progress.step({ step: 50, steps: 50, metrics });
  expect(drawn).toMatch(/^\rtraining +█+ 50\/50 {2}reward 0\.500 .* 52,753 tokens\/s {2}\d+ s$/);
  expect(drawn.length).toBeLessThanOrEqual(columns);
});
