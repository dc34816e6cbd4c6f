import { afterAll, describe, expect, it } from "vitest";
import { Engine, type FaultReport } from "../../src/engine/engine.js";
import { divergence, divergenceBackward } from "../../src/engine/kernels/divergence.js";
import type {
  DivergenceOptions,
  DivergenceTeacher,
} from "../../src/engine/kernels/divergenceOptions.js";
import {
  divergenceTable,
  kinds,
  refuseCombination,
  supports,
} from "../../src/engine/kernels/divergenceTable.js";
import { refusal } from "./refusal.js";

const faults: FaultReport[] = [];
const engine = new Engine({ device: "cpu", threads: 2, onFault: (f) => faults.push(f) });
const other = new Engine({ device: "cpu", threads: 1 });
afterAll(() => {
  engine.dispose();
  other.dispose();
});

const zeros = (...shape: number[]) => engine.zeros(shape);
const ids = (...values: number[]) => engine.tensor(Int32Array.from(values), [2, values.length / 2]);
const full: DivergenceTeacher = { logits: zeros(2, 3) };
const top: DivergenceTeacher = { topLogits: zeros(2, 2), topIds: ids(0, 1, 1, 2) };

describe("divergence", () => {
  it("takes plain data for everything but the student, and trains towards the teacher", () => {
    const student = zeros(1, 3);
    const teacher = { logits: [0, 1, 2] };
    const options = { kind: "reverse" } as const;
    let before = Number.POSITIVE_INFINITY;
    for (let step = 0; step < 5; ++step) {
      const { divergence: loss, stats } = divergence(engine, student, teacher, options);
      const now = loss.readSync()[0]!;
      expect(now).toBeLessThan(before);
      before = now;
      const down = divergenceBackward(engine, {
        student,
        teacher,
        stats,
        dDivergence: [-1],
        ...options,
      });
      const moved = student.readSync().map((z, v) => z + down.readSync()[v]!);
      student.write(moved);
    }
    expect(before).toBeLessThan(0.05);
  });

  it("writes the gradient where it is told to", () => {
    const student = engine.tensor([0, 1, 2, 3, 4, 5], [2, 3]);
    const options = { kind: "mixed", support: "tail", mask: new Uint8Array([1, 0]) } as const;
    const { stats } = divergence(engine, student, top, options);
    expect(stats.shape).toEqual([2, 7]);
    const args = { student, teacher: top, stats, dDivergence: [1, 1], ...options };
    const apart = divergenceBackward(engine, args).readSync();
    expect(divergenceBackward(engine, { ...args, out: student })).toBe(student);
    expect(student.readSync()).toEqual(apart);
    expect([...apart.slice(3)]).toEqual([0, 0, 0]);
  });

  it("the teacher's temperature is the student's unless it is given", () => {
    const student = engine.tensor([0, 1, 2, 0, 1, 2], [2, 3]);
    const of = (options: Omit<DivergenceOptions, "kind">) => [
      ...divergence(engine, student, full, { kind: "forward", ...options }).divergence.readSync(),
    ];
    expect(of({ temperature: 2 })).toEqual(of({ temperature: 2, teacherTemperature: 2 }));
    const warm = { logits: student };
    const [equal] = divergence(engine, student, warm, {
      kind: "jsd",
      temperature: 3,
    }).divergence.readSync();
    expect(equal).toBe(0);
  });

  it("reports a teacher's ids that cannot be used, and what is infinite", () => {
    const student = engine.tensor([0, 1, 2, 0, Number.NEGATIVE_INFINITY, 0], [2, 3]);
    const run = (teacher: DivergenceTeacher, options: DivergenceOptions) => {
      faults.length = 0;
      return [...divergence(engine, student, teacher, options).divergence.readSync()];
    };
    const twice = { topLogits: zeros(2, 2), topIds: ids(1, 1, 0, 2) };
    expect(run(twice, { kind: "forward", support: "renormalized" })).toEqual([Number.NaN, 0]);
    expect(faults).toEqual([
      { call: "divergence", kind: "id-out-of-range", count: 1, firstRow: 0 },
    ]);
    expect(run(full, { kind: "forward" })[1]).toBe(Number.POSITIVE_INFINITY);
    expect(faults).toEqual([{ call: "divergence", kind: "no-support", count: 1, firstRow: 1 }]);
    expect(run(full, { kind: "reverse" })[1]).toBeCloseTo(Math.log(1.5), 6);
    expect(faults).toEqual([]);
  });

  it("passes over ids that the forward call did not see", () => {
    const student = engine.tensor([0, 1, 2, 3, 4, 5], [2, 3]);
    const options = { kind: "forward", support: "renormalized" } as const;
    const { stats } = divergence(engine, student, top, options);
    const args = { student, stats, dDivergence: [1, 1], ...options };
    const wrong = { topLogits: zeros(2, 2), topIds: ids(0, 2 ** 31 - 1, -(2 ** 31), 2) };
    const [seen, passed] = [top, wrong].map((teacher) =>
      divergenceBackward(engine, { ...args, teacher }).readSync(),
    );
    expect([...passed!]).toEqual([seen![0], 0, 0, 0, 0, seen![5]]);
  });

  it("takes no rows", () => {
    const teacher = { topLogits: zeros(0, 2), topIds: engine.zeros([0, 2], "i32") };
    const options = { kind: "jsd", support: "truncated" } as const;
    const { divergence: none, stats } = divergence(engine, zeros(0, 3), teacher, options);
    expect([none.shape, stats.shape]).toEqual([[0], [0, 7]]);
    const student = zeros(0, 3);
    const args = { student, teacher, stats, dDivergence: [], ...options };
    expect(divergenceBackward(engine, args).shape).toEqual([0, 3]);
  });

  it.each<[string, DivergenceTeacher, object, RegExp]>([
    ["an unknown kind", full, { kind: "forwards" }, /^ERR_OPTION: .*did you mean "forward"/],
    ["no kind", full, {}, /^ERR_OPTION: .* for kind but received undefined/],
    [
      "a support for the whole vocabulary",
      full,
      { kind: "forward", support: "tail" },
      /^ERR_OPTION: Expected nothing \(the teacher has logits for all\) for support/,
    ],
    ["no support for top logits", top, { kind: "forward" }, /^ERR_OPTION: .* for support/],
    ["full as a name", top, { kind: "jsd", support: "full" }, /^ERR_OPTION: .* for support/],
    [
      "a biased truncation",
      top,
      { kind: "reverse", support: "truncated" },
      /^ERR_OPTION: .* refused: .*p = q \/ e.* \(nearest: support: "tail"\)/,
    ],
    [
      "a floor that the jsd has no use for",
      top,
      { kind: "jsd", support: "floor" },
      /^ERR_OPTION: .* refused: .*\(nearest: support: "tail"\)/,
    ],
    [
      "a weight without a mixture",
      full,
      { kind: "forward", weight: 0.5 },
      /^ERR_OPTION: Expected nothing \(kind is "forward"\) for weight but received 0.5/,
    ],
    [
      "a weight beyond 1",
      full,
      { kind: "mixed", weight: 1.1 },
      /^ERR_RANGE: .*\[0, 1\] for weight/,
    ],
    [
      "a jsd without a student",
      full,
      { kind: "jsd", weight: 1 },
      /^ERR_RANGE: .*0.999\] for weight/,
    ],
    ["NaN", full, { kind: "mixed", weight: Number.NaN }, /^ERR_RANGE: .* for weight/],
    ["temperature 0", full, { kind: "jsd", temperature: 0 }, /^ERR_RANGE: .* for temperature/],
    [
      "a temperature for log-probs",
      top,
      { kind: "forward", support: "tail", teacherTemperature: 1 },
      /^ERR_OPTION: .*log-probs.* for teacherTemperature but received 1/,
    ],
    [
      "a floor elsewhere",
      top,
      { kind: "mixed", support: "tail", logFloor: -10 },
      /^ERR_OPTION: .*\(support is "tail"\) for logFloor/,
    ],
    [
      "a floor without a reverse KL",
      top,
      { kind: "forward", support: "floor", logFloor: -10 },
      /^ERR_OPTION: .*q is 0.* for logFloor/,
    ],
    [
      "a floor of 0",
      top,
      { kind: "reverse", support: "floor", logFloor: 0 },
      /^ERR_RANGE: .* for logFloor/,
    ],
    [
      "nonNegative where nothing is negative",
      top,
      { kind: "forward", support: "tail", nonNegative: true },
      /^ERR_OPTION: .* for nonNegative/,
    ],
    ["an unknown option", full, { kind: "jsd", beta: 0.5 }, /^ERR_OPTION: .* "beta"/],
    ["a mask of another length", full, { kind: "jsd", mask: [1] }, /^ERR_SHAPE: .* for mask/],
    [
      "another vocabulary",
      { logits: zeros(2, 4) },
      { kind: "jsd" },
      /^ERR_SHAPE: .*teacher.logits/,
    ],
    [
      "ids of another shape",
      { topLogits: zeros(2, 2), topIds: ids(0, 1) },
      { kind: "jsd", support: "tail" },
      /^ERR_SHAPE: .*\[2, 2\] for teacher.topIds/,
    ],
    [
      "ids that are no integers",
      { topLogits: zeros(2, 2), topIds: zeros(2, 2) },
      { kind: "jsd", support: "tail" },
      /^ERR_DTYPE: .* teacher.topIds/,
    ],
    [
      "more than the vocabulary",
      { topLogits: zeros(2, 4), topIds: ids(0, 1, 2, 0, 0, 1, 2, 0) },
      { kind: "jsd", support: "tail" },
      /^ERR_RANGE: .*\[1, 3\] for teacher.topLogits.shape/,
    ],
    ["no teacher", {} as never, { kind: "jsd" }, /^ERR_OPTION: .*either logits or topLogits/],
    [
      "both teachers",
      { logits: zeros(2, 3), topLogits: zeros(2, 2), topIds: ids(0, 1, 0, 1) } as never,
      { kind: "jsd" },
      /^ERR_OPTION: .*either logits or topLogits/,
    ],
    [
      "half of the top values",
      { logits: zeros(2, 3), topIds: ids(0, 1) } as never,
      { kind: "jsd" },
      /^ERR_OPTION: .*either logits or topLogits with topIds .* "logits topIds"/,
    ],
    ["a misspelt teacher", { logit: zeros(2, 3) } as never, { kind: "jsd" }, /mean "logits"/],
    [
      "another engine's tensor",
      { logits: other.zeros([2, 3]) },
      { kind: "jsd" },
      /^ERR_OPTION: .* this engine for teacher.logits/,
    ],
  ])("refuses %s", (_, teacher, options, message) => {
    const call = () => divergence(engine, zeros(2, 3), teacher, options as DivergenceOptions);
    expect(refusal(call)).toMatch(message);
  });

  it("refuses what does not fit in the backward call", () => {
    const student = zeros(2, 3);
    const args = {
      student,
      teacher: full,
      stats: zeros(2, 5),
      dDivergence: [1, 1],
      kind: "forward",
    } as const;
    const refused = (change: object) =>
      refusal(() => divergenceBackward(engine, { ...args, ...change } as never));
    expect(refused({ stats: zeros(2, 7) })).toMatch(/^ERR_SHAPE: .*\[2, 5\] for stats/);
    expect(refused({ teacher: top, support: "tail" })).toMatch(/^ERR_SHAPE: .*\[2, 7\] for stats/);
    expect(refused({ dDivergence: [1] })).toMatch(/^ERR_SHAPE: .* for dDivergence/);
    expect(refused({ out: zeros(3, 2) })).toMatch(/^ERR_SHAPE: .* for out/);
    expect(refused({ out: engine.zeros([2, 3], "bf16") })).toMatch(/^ERR_DTYPE: .* for out/);
    expect(refused({ dLogProb: [1, 1] })).toMatch(/^ERR_OPTION: .* "dLogProb"/);
    expect(refused({ weight: 1 })).toMatch(/^ERR_OPTION: .* for weight/);
    const gone = zeros(2, 5);
    gone.dispose();
    expect(refused({ stats: gone })).toMatch(/^ERR_DISPOSED: .* for stats/);
  });
});

describe("the divergence table", () => {
  it("judges every kind over every support, and names a legal one where it refuses", () => {
    const { combinations } = divergenceTable;
    expect(combinations).toHaveLength(Object.keys(kinds).length * Object.keys(supports).length);
    for (const { choices, refusal: refused } of combinations) {
      if (refused === null) continue;
      const support = /support: "(.*)"/.exec(refused.nearest)![1];
      expect(refuseCombination({ ...choices, support } as never)).toBeNull();
    }
    expect(combinations.filter(({ refusal: refused }) => refused !== null)).toHaveLength(3);
  });
});
