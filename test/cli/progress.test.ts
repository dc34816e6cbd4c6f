import { describe, expect, test } from "vitest";
import { duration, ProgressBlock } from "../../src/cli/progress.js";
import type { Metrics, RunFrame } from "../../src/contract/index.js";
import { judgedTask } from "../report/twoPhases.js";

const start: Metrics = {
  "eval/accuracy": 1,
  "judge/pointwise_accuracy": 1,
  "judge/pairwise_accuracy": 0.5,
};
const metrics: Metrics = {
  ...{ reward: 0.5, kl: 0.00123, entropy: 1.5 },
  ...{ "eval/accuracy": null, "tokens_per_second/generate": 1_252_753 },
};

/** A terminal of which one sees what a person would: lines, redrawn where the cursor went back. */
function watched(columns: number | undefined, interactive = true) {
  let lines = [""];
  let row = 0;
  let drawn = "";
  const write = (text: string) => {
    drawn += text;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal is told
    for (const [part] of text.matchAll(/\x1b\[\d+A|\x1b\[J|\r|\n|[^\x1b\r\n]+/g)) {
      if (part.endsWith("A") && part.startsWith("\x1b")) row -= Number(part.slice(2, -1));
      else if (part === "\x1b[J") lines = [...lines.slice(0, row), ""];
      else if (part === "\n") row += 1;
      else if (part !== "\r") lines[row] = (lines[row] ?? "") + part;
    }
  };
  const progress = new ProgressBlock({ out: () => {}, err: write, interactive, columns });
  return { progress, screen: () => lines, drawn: () => drawn };
}

const frame = { task: judgedTask, resumedAt: -1 } as unknown as RunFrame;

function run({ progress }: ReturnType<typeof watched>): void {
  progress.begin(frame);
  progress.warmStart({ step: 20, steps: 450, stage: "correct", loss: 1.25 });
  progress.warmStart({ step: 450, steps: 450, stage: "blurred", loss: 0.25 });
  progress.step({ step: 0, steps: 500, metrics: start });
  progress.step({ step: 1, steps: 500, metrics });
}

describe("a run that is watched", () => {
  test.each([40, 80, 120, 200])("never wraps in %i columns", (columns) => {
    const terminal = watched(columns);
    run(terminal);
    for (const line of terminal.screen()) expect(line.length).toBeLessThan(columns);
    expect(terminal.screen()).toHaveLength(4);
  });

  test("tells warm start and training as one story, with what matters", () => {
    const terminal = watched(120);
    run(terminal);
    const [warm, heldOut, ...block] = terminal.screen();
    expect(warm).toMatch(/^warm start {2}450 steps in \d+ s, loss 0\.250$/);
    expect(heldOut).toBe("held out    accuracy 100.0%  pointwise 100.0%  pairwise 50.0%");
    expect(block[0]).toMatch(
      /^training +░+ +1\/500 {2}reward 0\.500 {2}accuracy 100\.0% {2}\d+ s left$/,
    );
    expect(block[1]).toBe(
      "            pointwise 100.0%  pairwise 50.0%  1,252,753 tokens/s  kl 0.0012  entropy 1.5",
    );
    terminal.progress.end({ step: 1 });
    expect(terminal.screen().slice(2)).toEqual([
      expect.stringMatching(/^training {4}1 step in \d+ s$/),
    ]);
  });

  test("where it has gone on from a checkpoint, reckons with the steps of this sitting", () => {
    const terminal = watched(80);
    terminal.progress.begin({ ...frame, resumedAt: 400 });
    terminal.progress.step({ step: 401, steps: 500, metrics });
    expect(terminal.screen()[0]).toMatch(/^training +█+░+ +401\/500 .* 0 s left$/);
  });

  test("a pseudo-terminal that says 0 columns has 80", () => {
    const terminal = watched(0);
    run(terminal);
    expect(Math.max(...terminal.screen().map(({ length }) => length))).toBeGreaterThan(60);
  });

  test("is not drawn where nobody looks on", () => {
    const terminal = watched(80, false);
    run(terminal);
    terminal.progress.end({ step: 1 });
    expect(terminal.drawn()).toBe("");
  });
});

test.each([
  [0.4, "0 s"],
  [59, "59 s"],
  [125, "2:05 min"],
  [3725, "1:02:05 h"],
])("%f seconds are %s", (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});
