import { afterAll, describe, expect, it } from "vitest";
import type { SampleRequest, Trajectory } from "../../src/contract/index.js";
import { Engine, type FaultReport } from "../../src/engine/engine.js";
import { CharTokenizer } from "../../src/policies/token/charTokenizer.js";
import { TokenPolicy } from "../../src/policies/token/tokenPolicy.js";
import { awkward, floats, plain, policyOf, prompt, request } from "./rows.js";

const faults: FaultReport[] = [];
const engine = new Engine({ onFault: (fault) => faults.push(fault) });
afterAll(() => engine.dispose());

/** Unequal lengths, one of them a single token; one prompt twice. */
const prompts = [
  prompt("a", [1, 2, 3]),
  prompt("b", [7]),
  prompt("c", [4, 4, 4, 4, 4, 4, 4, 4, 4, 5]),
  prompt("d", [1, 2, 3]),
];
const counts = [3, 8, 1, 2];

function ids({ actions }: Trajectory): number[] {
  return actions.kind === "tokens" ? [...actions.ids] : [];
}

function logProbs({ columns }: Trajectory): Float32Array {
  const column = columns.samplerLogProb!;
  return column.level === "action" ? column.values : new Float32Array(0);
}

describe.each([
  ["plain", plain],
  ["qk-norm, biases and tied embeddings", awkward],
  ["weights and activations in bf16", { ...awkward, dtype: "bf16" as const }],
])("sampling from a transformer: %s", (_, config) => {
  const policy = policyOf(engine, config);

  it.each([{ temperature: 1 }, { temperature: 0.6 }, { temperature: 2, greedy: true }])(
    "gives log-probs that are the training's to the last bit: %j",
    async (how) => {
      const sampled = await policy.sample(request({ prompts, counts, ...how }));
      const lengths = new Set(sampled.map(({ actions }) => actions.length));
      if (!("greedy" in how)) expect(lengths.size).toBeGreaterThan(3);
      const scores = policy.forward(sampled, { temperature: how.temperature });
      const trained = floats(scores.logProb);
      for (const [r, trajectory] of sampled.entries()) {
        const bounds = [scores.rowOffsets[r]!, scores.rowOffsets[r + 1]!] as const;
        expect(logProbs(trajectory)).toEqual(trained.slice(...bounds));
      }
      scores.dispose();
    },
  );

  it("shows every token as it is drawn, and ends a rollout where it is told to", async () => {
    const whole = await policy.sample(request({ prompts, counts }));
    const seen = whole.map(() => ({ ids: [] as number[], logProbs: [] as number[] }));
    const same = await policy.sample(request({ prompts, counts }), (rollout, token, logProb) => {
      seen[rollout]!.ids.push(token);
      seen[rollout]!.logProbs.push(logProb);
      return null;
    });
    expect(same).toEqual(whole);
    expect(seen.map((rollout) => rollout.ids)).toEqual(whole.map(ids));
    expect(seen.map((rollout) => Float32Array.from(rollout.logProbs))).toEqual(whole.map(logProbs));
    let left = 2;
    const cut = await policy.sample(request({ prompts, counts }), (rollout) =>
      rollout === 1 && --left === 0 ? "abort" : null,
    );
    expect(ids(cut[1]!)).toEqual(ids(whole[1]!).slice(0, 2));
    const longer = ids(whole[1]!).length > 2;
    expect(cut[1]!.finish).toBe(longer ? "abort" : whole[1]!.finish);
    expect(cut.toSpliced(1, 1)).toEqual(whole.toSpliced(1, 1));
  });

  it("gives a trajectory whatever else is sampled", async () => {
    const all = await policy.sample(request({ prompts, counts }));
    const streams = request({ prompts, counts }).streams;
    for (const [i, trajectory] of all.entries()) {
      const [alone] = await policy.sample(
        request({ prompts: [trajectory.prompt], counts: [1], streams: [streams[i]!] }),
      );
      expect(ids(alone!)).toEqual(ids(trajectory));
      expect(logProbs(alone!)).toEqual(logProbs(trajectory));
      expect(alone!.finish).toBe(trajectory.finish);
    }
  });

  it("takes the most probable token when greedy, without any randomness", async () => {
    const how = { prompts, counts: [1, 1, 1, 1], greedy: true };
    const first = await policy.sample(request(how));
    const streams = first.map((_, i) => [i, 99] as const);
    const second = await policy.sample(request({ ...how, streams }));
    expect(second.map(ids)).toEqual(first.map(ids));
    const trajectory = first[0]!;
    const choices = Array.from({ length: config.vocabSize }, (_, id) => ({
      prompt: trajectory.prompt,
      actions: { kind: "tokens", length: 1, ids: Int32Array.of(id) } as const,
    }));
    const values = floats(policy.score(choices).logProb);
    expect(values.indexOf(Math.max(...values))).toBe(ids(trajectory)[0]);
  });
});

describe("sampling", () => {
  const policy = policyOf(engine, plain);

  it("gives the same bits at one thread and at two", async () => {
    const runs = [];
    for (const threads of [1, 2]) {
      const own = new Engine({ threads });
      const sampled = await policyOf(own, plain).sample(
        request({ prompts, counts: [40, 40, 40, 40] }),
      );
      runs.push(sampled.map((t) => [ids(t), logProbs(t)]));
      own.dispose();
    }
    expect(runs[0]).toEqual(runs[1]);
  });

  it("draws tokens as often as their probabilities say", async () => {
    const count = 4000;
    const sampled = await policy.sample(
      request({ prompts: [prompts[0]!], counts: [count], maxCompletionLength: 1 }),
    );
    const seen = new Float64Array(plain.vocabSize);
    for (const trajectory of sampled) seen[ids(trajectory)[0]!]! += 1;
    const choices = Array.from({ length: plain.vocabSize }, (_, id) => ({
      prompt: prompts[0]!,
      actions: { kind: "tokens", length: 1, ids: Int32Array.of(id) } as const,
    }));
    const expected = floats(policy.score(choices).logProb).map(Math.exp);
    for (const [id, p] of expected.entries()) {
      // Five standard deviations of a binomial count.
      const deviation = Math.sqrt(count * p * (1 - p));
      expect(Math.abs(seen[id]! - count * p)).toBeLessThan(5 * deviation + 1);
    }
  });

  it("tells prompt, order, mask and how each rollout ended", async () => {
    const sampled = await policy.sample(request({ prompts, counts, maxCompletionLength: 4 }));
    expect(sampled.map(({ prompt }) => prompt.id).join("")).toBe("aaabbbbbbbbcdd");
    expect(sampled.map(({ id }) => id)).toEqual(sampled.map((_, i) => i));
    const finishes = new Set<string>();
    for (const trajectory of sampled) {
      const tokens = ids(trajectory);
      const stopped = [0, 1].includes(tokens.at(-1)!);
      expect(trajectory.finish).toBe(stopped ? "stop" : "length");
      expect(tokens.slice(0, -1).some((id) => id < 2)).toBe(false);
      if (!stopped) expect(tokens.length).toBe(4);
      expect([...trajectory.mask]).toEqual(tokens.map(() => 1));
      finishes.add(trajectory.finish);
    }
    expect(finishes.size).toBe(2);
  });

  it("ends at the tokenizer's end token, which has no text", async () => {
    const tokenizer = new CharTokenizer("abcdefghij");
    const talker = TokenPolicy.create(engine, plain, { tokenizer, seed: 5 });
    const sampled = await talker.sample(
      request({ prompts, counts: [20, 0, 0, 0], stop: [], maxCompletionLength: 30 }),
    );
    const ended = sampled.filter(({ finish }) => finish === "stop");
    expect(ended.length).toBeGreaterThan(0);
    for (const trajectory of ended) {
      expect(ids(trajectory).at(-1)).toBe(tokenizer.endOfSequence);
      expect(trajectory.text).toBe(tokenizer.decode(Int32Array.from(ids(trajectory))));
      expect(trajectory.text.length).toBe(ids(trajectory).length - 1);
    }
  });

  it("never goes past the policy's length", async () => {
    const long = prompt("long", Array(plain.maxLength - 2).fill(5));
    const sampled = await policy.sample(request({ prompts: [long], counts: [6], stop: [] }));
    expect(sampled.map(({ actions, finish }) => [actions.length, finish])).toEqual(
      Array(6).fill([2, "length"]),
    );
  });

  it("takes no prompts and counts of zero", async () => {
    expect(await policy.sample(request({ prompts: [], counts: [] }))).toEqual([]);
    expect(await policy.sample(request({ prompts, counts: [0, 0, 0, 0] }))).toEqual([]);
  });

  it("leaves no memory behind, finished or aborted", async () => {
    await policy.sample(request({ prompts, counts }));
    const before = engine.memory().live;
    await policy.sample(request({ prompts, counts }));
    const controller = new AbortController();
    const aborted = policy.sample(
      request({ prompts, counts, maxCompletionLength: 50, stop: [], signal: controller.signal }),
    );
    controller.abort();
    await expect(aborted).rejects.toMatchObject({ code: "ERR_ABORTED" });
    expect(engine.memory().live).toBe(before);
  });

  it("ends a rollout as an error, and reports it, where the network gives no distribution", async () => {
    const broken = policyOf(engine, plain);
    const table = broken.parameters.find(({ name }) => name === "model.embed_tokens.weight")!;
    table.value.rows(7, 8).write(new Float32Array(plain.hiddenSize).fill(Number.NaN));
    faults.length = 0;
    const sampled = await broken.sample(request({ prompts, counts: [1, 1, 0, 0] }));
    expect(sampled[1]!.finish).toBe("error");
    expect(sampled[1]!.actions.length).toBe(0);
    expect(faults.map(({ call }) => call)).toContain("sample");
    expect(sampled[0]!.actions.length).toBeGreaterThan(0);
  });

  const bad: [string, Partial<SampleRequest>, string, string][] = [
    ["counts of another length", { counts: [1], streams: [[1, 1]] }, "ERR_SHAPE", "counts"],
    ["a negative count", { counts: [-1, 0, 0, 0] }, "ERR_RANGE", "counts[0]"],
    ["streams of another length", { streams: [] }, "ERR_SHAPE", "streams"],
    ["no room for an answer", { maxCompletionLength: 0 }, "ERR_RANGE", "maxCompletionLength"],
    ["a stop id past the vocabulary", { stop: [11] }, "ERR_RANGE", "stop[0]"],
    ["temperature 0", { temperature: 0 }, "ERR_RANGE", "temperature"],
    [
      "an empty prompt",
      { prompts: [prompt("e", []), ...prompts.slice(1)] },
      "ERR_RANGE",
      "prompts[0]",
    ],
    [
      "a token past the vocabulary",
      { prompts: [prompt("e", [11]), ...prompts.slice(1)] },
      "ERR_RANGE",
      "prompts[0]",
    ],
    [
      "a prompt without room behind",
      { prompts: [prompt("e", Array(64).fill(1)), ...prompts.slice(1)] },
      "ERR_RANGE",
      "prompts[0]",
    ],
    [
      "a hook",
      { hook: { top: 1, answers: ["stop"], decide: () => ({ do: "stop" }) } },
      "ERR_SAMPLER",
      "hook",
    ],
  ];
  it.each(bad)("refuses %s", async (_, change, code, name) => {
    const before = engine.memory().live;
    await expect(
      policy.sample({ ...request({ prompts, counts }), ...change }),
    ).rejects.toMatchObject({ code, message: expect.stringContaining(name) });
    expect(engine.memory().live).toBe(before);
  });
});
