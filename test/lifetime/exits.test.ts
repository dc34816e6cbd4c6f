import { expect, it } from "vitest";
import { busy, dist, run } from "./runModule.js";

const whole = `import * as firesteel from ${JSON.stringify(`${dist}/index.js`)};`;

/** Work that would go on for hours, and calls `end` in its middle. */
const works = {
  "a run": `${whole}
    const small = { promptsPerStep: 2, numGenerations: 4, minibatchSize: 8, evalSamples: 1 };
    const onStep = ({ step }) => step === 2 && setTimeout(end, 20);
    firesteel.train({ ...small, device: "cpu", steps: 1e6, warmStart: false, onStep });`,
  sampling: `${whole}
    const engine = new Engine({ device: "cpu" });
    const config = { ...firesteel.tinyConfig(64), maxLength: 2048 };
    const policy = firesteel.TokenPolicy.create(engine, config);
    const prompt = { id: "0", messages: [], tokens: [1], label: null, columns: {} };
    setTimeout(end, 300);
    policy.sample({
      prompts: [prompt], counts: [64], streams: Array.from({ length: 64 }, (_, i) => [i, 1]),
      temperature: 1, maxCompletionLength: 2000, greedy: false, stop: [], hook: null, signal: null,
    }).then(() => console.log("sampled"));`,
  "a read": `${busy}
    setTimeout(end, 20);
    logits.read().then(() => console.log("read"));`,
};

const ends = {
  "process.exit": ["process.exit(7)", { status: 7, signal: null }],
  "an uncaught exception": ['throw new Error("enough")', { status: 1, signal: null }],
  "a rejection that nobody handles": [
    'Promise.reject(new Error("enough"))',
    { status: 1, signal: null },
  ],
  SIGTERM: ['process.kill(process.pid, "SIGTERM")', { status: null, signal: "SIGTERM" }],
} as const;

const cases: readonly (readonly [keyof typeof works, keyof typeof ends])[] = [
  ["a run", "process.exit"],
  ["a run", "an uncaught exception"],
  ["a run", "SIGTERM"],
  ["sampling", "process.exit"],
  ["sampling", "a rejection that nobody handles"],
  ["a read", "process.exit"],
  ["a read", "an uncaught exception"],
  ["a read", "SIGTERM"],
];

it.each(cases)("%s is ended by %s", { timeout: 180_000 }, (work, how) => {
  const [end, expected] = ends[how];
  const { stdout, stderr, ...ended } = run(`const end = () => { ${end}; };\n${works[work]}`);
  expect({ ...ended, stdout }, stderr).toEqual({ ...expected, stdout: "" });
  if (expected.status === 1) expect(stderr).toContain("enough");
});

it("process.exit from beforeExit and from exit goes through", { timeout: 180_000 }, () => {
  for (const event of ["beforeExit", "exit"]) {
    const ended = run(`${busy}
      process.on(${JSON.stringify(event)}, () => {
        logProb(engine, logits, new Int32Array(64));
        process.exit(5);
      });`);
    expect(ended).toMatchObject({ status: 5, signal: null });
  }
});
