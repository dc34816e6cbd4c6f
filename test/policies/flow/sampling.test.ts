import { afterAll, beforeEach, describe, expect, test } from "vitest";
import type { FlowPlan, Trajectory } from "../../../src/contract/index.js";
import { Engine } from "../../../src/engine/engine.js";
import {
  floats,
  flowOf,
  logProbs,
  oneHot,
  policyOf,
  prompt,
  referenceStep,
  request,
  small,
  velocity,
  weightsOf,
} from "./flows.js";

const engine = new Engine();
afterAll(() => engine.dispose());
const policy = policyOf(engine);
// Gradients are made when they are first asked for.
policy.forward([]).dispose();

let before: number;
beforeEach(() => {
  before = engine.memory().live;
});

const prompts = [0, 3, 4, 3].map((condition) => prompt(condition));
const counts = [3, 1, 0, 2];

function expectExact(sampled: readonly Trajectory[]): void {
  const scores = policy.forward(sampled);
  const again = policy.score(sampled);
  const trained = floats(scores.logProb);
  expect(floats(again.logProb)).toEqual(trained);
  for (const [r, trajectory] of sampled.entries()) {
    const bounds = [scores.rowOffsets[r]!, scores.rowOffsets[r + 1]!] as const;
    expect(logProbs(trajectory)).toEqual(trained.slice(...bounds));
  }
  scores.dispose();
  again.logProb.dispose();
}

const plans: [string, FlowPlan][] = [
  ["the SDE of Flow-GRPO", { noise: "sde", noiseLevel: 0.7 }],
  ["that of DanceGRPO", { noise: "constant-sde", noiseLevel: 0.3 }],
  ["Flow-CPS", { noise: "cps", noiseLevel: 0.8 }],
  ["shifted times", { noise: "sde", noiseLevel: 0.7, shift: 3 }],
  ["other noise each step, some along the ODE", { noiseLevel: [0.7, 0, 0.2, 0, 0, 1] }],
];

describe.each(plans)("sampling by %s", (_, flow) => {
  test("gives log-probs that are the training's to the last bit, and leaves no memory", async () => {
    const sampled = await policy.sample(request({ prompts, counts, flow }));
    expect(sampled.map(({ prompt }) => prompt.id)).toEqual(["0", "0", "0", "3", "3", "3"]);
    expectExact(sampled);
    expect(engine.memory().live).toBe(before);
  });

  test("gives log-probs of the transitions as written down", async () => {
    const weights = weightsOf(policy);
    for (const trajectory of await policy.sample(request({ prompts, counts, flow }))) {
      const given = logProbs(trajectory);
      for (const [step, trained] of trajectory.mask.entries()) {
        const reference = referenceStep(weights, small, trajectory, step);
        expect(trained).toBe(reference.std === 0 ? 0 : 1);
        if (trained === 0) expect(given[step]).toBe(0);
        else expect(given[step]).toBeCloseTo(reference.logProb, 4);
      }
    }
  });

  test("gives a rollout whatever else is sampled, on any number of threads", async () => {
    const whole = request({ prompts, counts, flow });
    const all = await policy.sample(whole);
    for (const [i, trajectory] of all.entries()) {
      const one = { prompts: [trajectory.prompt], counts: [1], streams: [whole.streams[i]!], flow };
      const [alone] = await policy.sample(request(one));
      expect(flowOf(alone!)).toEqual(flowOf(trajectory));
      expect(logProbs(alone!)).toEqual(logProbs(trajectory));
    }
    const threaded = new Engine({ threads: 3 });
    const same = await policyOf(threaded).sample(whole);
    expect(same.map(flowOf)).toEqual(all.map(flowOf));
    threaded.dispose();
  });
});

describe("without noise", () => {
  test("a greedy rollout is Euler's way along the ODE, from noise", async () => {
    const [first, second] = await policy.sample(
      request({ prompts, counts: [2, 0, 0, 0], greedy: true }),
    );
    const { states, sigmas } = flowOf(first!);
    expect([...first!.mask]).toEqual([0, 0, 0, 0, 0, 0]);
    expect(flowOf(second!).states.slice(0, 3)).not.toEqual(states.slice(0, 3));
    const weights = weightsOf(policy);
    let x = [...states.subarray(0, 3)];
    for (let i = 0; i < 6; ++i) {
      const v = velocity(weights, small, x, sigmas[i]!, oneHot(0, 5));
      x = x.map((value, d) => value + (sigmas[i + 1]! - sigmas[i]!) * v[d]!);
    }
    for (const [d, value] of x.entries()) expect(states.at(d - 3)).toBeCloseTo(value, 4);
    expect(first!.text).toBe([...states.subarray(-3)].map((v) => v.toFixed(3)).join(", "));
  });

  test("the same request gives the same sample", async () => {
    const how = request({ prompts, counts, greedy: true });
    const [a, b] = [await policy.sample(how), await policy.sample(how)];
    expect(a.map(flowOf)).toEqual(b.map(flowOf));
  });
});

describe("rollouts that begin elsewhere", () => {
  test("the same noise stream gives the same beginning, and ways of their own", async () => {
    const noiseStreams = Array.from({ length: 3 }, () => [5, 5] as const);
    const sampled = await policy.sample(
      request({ prompts: prompts.slice(0, 1), counts: [3], noiseStreams }),
    );
    const states = sampled.map((t) => flowOf(t).states);
    expect(states[1]!.slice(0, 3)).toEqual(states[0]!.slice(0, 3));
    expect(states[2]!.slice(0, 3)).toEqual(states[0]!.slice(0, 3));
    expect(states[1]!.slice(3, 6)).not.toEqual(states[0]!.slice(3, 6));
  });

  test("a rollout goes on from another's state, at its times and with its noise or other noise", async () => {
    const [parent, other] = await policy.sample(
      request({ prompts: prompts.slice(0, 2), counts: [1, 1] }),
    );
    const starts = [
      { actions: flowOf(parent!), at: 2 },
      { actions: flowOf(other!), at: 5 },
    ];
    const given = { prompts: prompts.slice(0, 2), counts: [2, 1], starts };
    const tails = await policy.sample(request(given));
    expect(tails.map(({ actions }) => actions.length)).toEqual([4, 4, 1]);
    for (const tail of tails.slice(0, 2)) {
      expect(flowOf(tail).states.slice(0, 3)).toEqual(flowOf(parent!).states.slice(6, 9));
      expect(flowOf(tail).sigmas).toEqual(flowOf(parent!).sigmas.slice(2));
      expect([...tail.mask]).toEqual([1, 1, 1, 1]);
    }
    expectExact(tails);
    const ahead = await policy.sample(
      request({
        ...given,
        counts: [1, 0],
        flow: { noiseLevel: [0.7, 0, 0, 0] },
        starts: [starts[0]!, starts[0]!],
      }),
    );
    expect([...ahead[0]!.mask]).toEqual([1, 0, 0, 0]);
  });
});

describe("what cannot be sampled is refused", () => {
  const ask = { prompts: prompts.slice(0, 1), counts: [1] };
  const start = async () => {
    const [parent] = await policy.sample(request(ask));
    return { actions: flowOf(parent!), at: 2 };
  };
  test.each<[string, object, RegExp]>([
    [
      "a temperature",
      { temperature: 0.7 },
      /Expected 1 \(a flow policy has no logits\) for temperature/,
    ],
    ["stop ids", { stop: [1] }, /Expected nothing \(actions are no tokens\) for stop/],
    [
      "a missing condition",
      { prompts: [prompt(undefined, "p")] },
      /Expected an integer below 5 or an array of 5 numbers for column "condition" of question "p" but received undefined/,
    ],
    [
      "a condition out of range",
      { prompts: [prompt(5)] },
      /Expected an integer in \[0, 4\] for column "condition"/,
    ],
    ["features of another width", { prompts: [prompt([1, 2])] }, /but received an array of 2/],
    [
      "features that are no numbers",
      { prompts: [prompt([1, 2, Number.NaN, 0, 0])] },
      /at 2 but received NaN/,
    ],
    [
      "noise levels of another length",
      { flow: { noiseLevel: [0.7] } },
      /a number or one per step \(6\)/,
    ],
    ["a misspelt option", { flow: { noiselevel: 1 } }, /did you mean "noiseLevel"/],
    [
      "an unknown noise",
      { flow: { noise: "ode" } },
      /one of "sde", "constant-sde", "cps" for flow.noise/,
    ],
    [
      "noise beside greedy",
      { greedy: true, flow: { noiseLevel: 0.7 } },
      /nothing \(greedy has none\)/,
    ],
    ["too few noise streams", { noiseStreams: [] }, /one per rollout \(1\) for noiseStreams/],
    ["no steps", { maxCompletionLength: 0 }, /maxCompletionLength/],
  ])("%s", async (_, change, message) => {
    await expect(policy.sample(request({ ...ask, ...change }))).rejects.toThrow(message);
  });

  test("starts of another width, beyond the end, or beside other beginnings", async () => {
    const good = await start();
    const wide = { ...good, actions: { ...good.actions, width: 1 } };
    const cases: [object, RegExp][] = [
      [{ starts: [wide] }, /Expected 3 for the width of starts\[0\]\.actions but received 1/],
      [{ starts: [{ ...good, at: 7 }] }, /an integer in \[0, 6\] for starts\[0\]\.at/],
      [{ starts: [] }, /one per prompt \(1\) for starts/],
      [{ starts: [good], flow: { shift: 3 } }, /nothing \(starts have their times\)/],
      [{ starts: [good], noiseStreams: [[1, 1]] }, /nothing \(starts are given\)/],
    ];
    for (const [change, message] of cases) {
      await expect(policy.sample(request({ ...ask, ...change }))).rejects.toThrow(message);
    }
  });

  test("an aborted signal stops it", async () => {
    const signal = AbortSignal.abort();
    await expect(policy.sample(request({ ...ask, signal }))).rejects.toMatchObject({
      code: "ERR_ABORTED",
    });
  });

  test("a network that gives no numbers ends its rollouts in an error", async () => {
    const quiet = new Engine({ onFault: () => {} });
    const broken = policyOf(quiet);
    broken.parameters[0]!.value.write(
      new Float32Array(broken.parameters[0]!.value.size).fill(Number.NaN),
    );
    const [rollout] = await broken.sample(request(ask));
    expect(rollout!.finish).toBe("error");
    quiet.dispose();
  });
});
