import { describe, expect, test } from "vitest";
import { groupNormalize, surrogate } from "../../src/blocks/index.js";
import type { LossTerm } from "../../src/contract/index.js";
import { defineSystem, type SystemDefinition } from "../../src/systems/defineSystem.js";
import { systems } from "../../src/systems/index.js";
import { printSystem, systemBlocks } from "../../src/trainer/printSystem.js";

const head = { id: "mine", title: "Mine", arxiv: null, evidence: "low" } as const;
const loss = [surrogate()];
const advantage = groupNormalize();

describe("a system's definition", () => {
  test("the flat form is one phase with the plain choices filled in", () => {
    const system = defineSystem({ ...head, advantage, loss });
    expect(system.phases.map(({ name, model }) => [name, model])).toEqual([["policy", "policy"]]);
    expect(systemBlocks(system).map(({ at, block }) => `${at}:${block}`)).toEqual([
      "rollout:rollout",
      "reward:reward",
      "advantage:groupNormalize",
      "loss:surrogate",
    ]);
  });

  test("several phases keep their order and names", () => {
    const phases = [
      { name: "policy", advantage, loss },
      { name: "judge", advantage, loss, update: { minibatchSize: 32 } },
    ];
    const system = defineSystem({ ...head, phases });
    expect(system.phases.map(({ name }) => name)).toEqual(["policy", "judge"]);
    expect(printSystem(system)).toContain("phase judge (trains policy, minibatchSize 32)");
  });

  const distill: LossTerm = { ...surrogate(), models: ["teacher"] };
  test.each<[string, object, RegExp]>([
    [
      "an unknown key",
      { advantag: advantage },
      /received "advantag" \(did you mean "advantage"\?\)/,
    ],
    ["no loss", { loss: [] }, /at least one loss term for policy\.loss/],
    [
      "a loss without the advantage it reads",
      { advantage: undefined },
      /an advantage \(a loss reads it\)/,
    ],
    ["an id that is no id", { id: "My System" }, /lower-case words joined by hyphens/],
    ["a model nobody defines", { model: "judge" }, /one of "policy" for policy\.model/],
    [
      "a loss that reads a missing model",
      { loss: [distill] },
      /a model "teacher" \(surrogate asks it\)/,
    ],
    [
      "an advantage that asks a missing model",
      { advantage: { ...advantage, models: ["teacher"] } },
      /a model "teacher" \(groupNormalize asks it\)/,
    ],
    [
      "a stage of a missing phase",
      { stages: [{ name: "one", phases: ["judge"], steps: 3 }] },
      /phases among "policy" for stage "one" but received "judge"/,
    ],
  ])("is refused with %s", (_, change, message) => {
    const definition = { ...head, advantage, loss, ...change } as SystemDefinition;
    expect(() => defineSystem(definition)).toThrow(message);
  });

  test("is refused with two phases of one name, or none", () => {
    const phase = { name: "a", advantage, loss };
    expect(() => defineSystem({ ...head, phases: [phase, phase] })).toThrow(/different names/);
    expect(() => defineSystem({ ...head, phases: [] })).toThrow(/at least one phase/);
  });
});

describe("the systems that come along", () => {
  test("grpo follows TRL's constants", () => {
    const blocks = Object.fromEntries(systemBlocks(systems.grpo!).map((b) => [b.at, b.options]));
    expect(blocks.advantage).toEqual({
      conventions: "trl",
      center: "mean",
      scale: "std",
      scope: "group",
      scopeBlend: null,
      ddof: 1,
      eps: 1e-4,
      epsPlacement: "outside",
      zeroScale: null,
      singleton: "zero",
    });
    expect(blocks.loss).toMatchObject({
      epsilon: 0.2,
      beta: 0,
      aggregation: "seq-mean-token-mean",
    });
  });

  test("mc-grpo samples one more, centres by the median and drops the pivot", () => {
    const blocks = systemBlocks(systems["mc-grpo"]!);
    expect(blocks.map(({ block }) => block)).toEqual([
      "extraRollouts",
      "reward",
      "groupNormalize",
      "dropPivot",
      "surrogate",
    ]);
    expect(blocks[2]!.options).toMatchObject({
      center: "median",
      scale: "median-deviation",
      eps: 1e-3,
    });
  });

  test("mc-grpo warns where rewards are 0 and 1, and only there", () => {
    const facts = { numGenerations: 4, maxCompletionLength: 6, rewards: ["correct"] };
    const block = systems["mc-grpo"]!.phases[0]!.advantage!;
    expect(block.inspect?.({ ...facts, binaryRewards: true })).toEqual([
      expect.stringMatching(/median deviation of every group is 0.*\+-1\/eps = 1000/),
    ]);
    expect(block.inspect?.({ ...facts, binaryRewards: false })).toEqual([]);
  });

  test.each(Object.values(systems))(
    "$id prints every option of every block with its value",
    (system) => {
      const text = printSystem(system);
      if (system.arxiv !== null) expect(text).toContain(`arXiv ${system.arxiv}`);
      for (const phase of system.phases) {
        const blocks = [
          phase.rollout,
          phase.reward,
          ...(phase.advantage === null ? [] : [phase.advantage]),
          ...phase.select,
          ...phase.loss,
        ];
        for (const { block, options } of blocks) {
          expect(text).toContain(`  ${block}\n`);
          for (const { name, value } of options) {
            expect(text).toMatch(
              new RegExp(`^ {6}${name} +${escaped(JSON.stringify(value))} `, "m"),
            );
          }
        }
      }
    },
  );
});

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
