import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { FiresteelError } from "../../src/engine/error.js";
import { type GroupNormOptions, groupNorm } from "../../src/engine/kernels/groupNorm.js";
import * as groupNormModule from "../../src/engine/kernels/groupNormTable.js";

const { groupNormTable, refuseCombination, refuseEpsPlacement, scales, epsPlacements } =
  groupNormModule;
const engine = new Engine({ device: "cpu", threads: 2 });
afterAll(() => engine.dispose());

/** Code and message of what a call throws; anything but a FiresteelError fails the test. */
function refusal(options: object, values: unknown = [1, 2, 4, 8]): string {
  try {
    const given = { groupOffsets: [0, 4], ...options } as GroupNormOptions;
    engine.scope(() => void groupNorm(engine, values as number[], given));
  } catch (error) {
    expect(error).toBeInstanceOf(FiresteelError);
    return `${(error as FiresteelError).code}: ${(error as Error).message}`;
  }
  return "nothing thrown";
}

/** The choice that a refusal calls nearest. */
function nearest(text: string): Record<string, string> {
  const [name, value] = text.split(": ") as [string, string];
  return { [name]: JSON.parse(value) };
}

describe("combinations of center, scale and scope", () => {
  const choices = groupNormTable.combinations.map((combination) => ({
    ...combination,
    name: Object.values(combination.choices).join(" x "),
  }));
  const withEma = (chosen: Readonly<Record<string, string>>) =>
    chosen.center === "ema" ? { ...chosen, ema: 0 } : chosen;

  it("are all in the table, legal or refused", () => {
    expect(choices).toHaveLength(5 * 6 * 3);
    expect(choices.filter(({ refusal: refused }) => refused === null)).toHaveLength(65);
  });

  it.each(choices.filter(({ refusal: refused }) => refused === null))("$name runs", (c) => {
    expect(refusal(withEma(c.choices))).toBe("nothing thrown");
  });

  it.each(choices.filter(({ refusal: refused }) => refused !== null))(
    "$name is refused, with the reason and a step towards a legal one",
    (c) => {
      const message = refusal(withEma(c.choices));
      expect(message).toMatch(
        /^ERR_OPTION: center ".*" with scale ".*" of scope ".*" is refused: /,
      );
      expect(message).toContain(c.refusal!.reason);
      expect(message).toContain(`(nearest: ${c.refusal!.nearest})`);
      // At most two steps: centre and scope may both be wrong.
      let next = { ...c.choices, ...nearest(c.refusal!.nearest) } as unknown as Parameters<
        typeof refuseCombination
      >[0];
      const further = refuseCombination(next);
      if (further !== null) next = { ...next, ...nearest(further.nearest) };
      expect(refuseCombination(next)).toBeNull();
    },
  );

  it("eps stands inside a root only where there is one", () => {
    const refused = Object.keys(scales).flatMap((scale) =>
      Object.keys(epsPlacements)
        .filter((placement) => refuseEpsPlacement(scale as never, placement as never) !== null)
        .map((placement) => `${scale} ${placement}`),
    );
    expect(refused).toEqual(
      ["none", "mean-deviation", "median-deviation", "range"].flatMap((scale) => [
        `${scale} inside`,
        `${scale} floor`,
      ]),
    );
    expect(refusal({ scale: "range", epsPlacement: "floor" })).toBe(
      'ERR_OPTION: epsPlacement "floor" with scale "range" is refused: range is not the root of a ' +
        'variance (nearest: epsPlacement: "outside")',
    );
  });
});

describe("options", () => {
  it.each([
    [{ ddof: 0, scale: "range" }, 'nothing (scale is "range") for ddof but received 0'],
    [{ ddof: 1, scale: "none" }, 'nothing (scale is "none") for ddof but received 1'],
    [{ eps: 0, scale: "none" }, 'nothing (scale is "none") for eps but received 0'],
    [
      { epsPlacement: "outside", scale: "none" },
      'nothing (scale is "none") for epsPlacement but received "outside"',
    ],
    [{ zeroScale: "one" }, 'nothing (scale is "std") for zeroScale but received "one"'],
    [{ scopeBlend: 0.5 }, 'nothing (scope is "group") for scopeBlend but received 0.5'],
    [{ ema: 1 }, 'nothing (center is "mean") for ema but received 1'],
    [{ emaBlend: 1 }, 'nothing (center is "mean") for emaBlend but received 1'],
    [{ center: "ema" }, 'a number or a tensor (center is "ema") for ema but received undefined'],
    [{ center: "meen" }, 'received "meen" (did you mean "mean"?)'],
    [{ scale: "median_deviation" }, '(did you mean "median-deviation"?)'],
    [{ scope: "toString" }, 'one of "group", "batch", "blend" for scope but received "toString"'],
    [{ singleton: "keep" }, 'one of "zero", "value" for singleton'],
    [{ zeroscale: "one" }, '(did you mean "zeroScale"?)'],
    [{ groupOffsets: undefined }, "either groupOffsets or keys"],
    [{ keys: [1, 2, 3, 4] }, "either groupOffsets or keys"],
  ])("%o is refused", (options, message) => {
    expect(refusal(options)).toMatch(/^ERR_OPTION: /);
    expect(refusal(options)).toContain(message);
  });

  it.each([
    [{ eps: -1 }, "eps but received -1"],
    [{ eps: Number.NaN }, "eps but received NaN"],
    [{ eps: Infinity }, "eps but received Infinity"],
    [{ ddof: 2 }, "[0, 1] for ddof but received 2"],
    [{ scope: "blend", scopeBlend: 1.5 }, "[0, 1] for scopeBlend but received 1.5"],
    [{ center: "ema", ema: Number.NaN }, "for ema but received NaN"],
    [{ center: "ema", ema: 1e39 }, "for ema but received 1e+39"],
    [{ center: "ema", ema: 0, emaBlend: -0.1 }, "[0, 1] for emaBlend but received -0.1"],
    [{ groupOffsets: [0, 3, 2, 4] }, "groupOffsets[2]"],
  ])("%o is out of range", (options, message) => {
    expect(refusal(options)).toMatch(/^ERR_RANGE: /);
    expect(refusal(options)).toContain(message);
  });
});

describe("shapes", () => {
  it("of values are [rows] or [rows, columns]", () => {
    expect(refusal({}, engine.zeros([2, 2, 1]))).toBe(
      'ERR_SHAPE: Expected shape [rows] or [rows, columns] for values but received "[2,2,1]"',
    );
    expect(refusal({}, engine.zeros([3, 2]))).toMatch(/^ERR_SHAPE: .* for groupOffsets but/);
    expect(refusal({}, engine.zeros([4], "f64"))).toMatch(/^ERR_DTYPE: .* for values /);
  });

  it("of results follow the values'", () => {
    const keys = ["b", "a", "b", 3];
    const flat = groupNorm(engine, [1, 2, 3, 4], { keys });
    const wide = groupNorm(engine, engine.zeros([4, 2]), { keys });
    const shapes = (result: typeof flat) =>
      Object.entries(result).map(([name, { shape }]) => `${name} ${shape}`);
    expect(shapes(flat)).toEqual(["advantage 4", "center 3", "scale 3"]);
    expect(shapes(wide)).toEqual(["advantage 4,2", "center 3,2", "scale 3,2"]);
    // Groups are numbered by first appearance.
    expect([...flat.center.readSync()]).toEqual([2, 2, 4]);
  });

  it("valid is one a row or one a value", () => {
    const values = engine.tensor([1, 2, 3, 5, 5, 9], [3, 2]);
    const ask = (valid: GroupNormOptions["valid"]) => [
      ...groupNorm(engine, values, {
        groupOffsets: [0, 3],
        scale: "none",
        valid,
      }).advantage.readSync(),
    ];
    expect(ask([1, 1, 0])).toEqual([-1, -1.5, 1, 1.5, 0, 0]);
    expect(ask(engine.tensor([1, 1, 0], [3], "u8"))).toEqual(ask([1, 1, 0]));
    const each = [1, 0, 1, 1, 0, 1];
    expect(ask(each)).toEqual([-1, 0, 1, -2, 0, 2]);
    expect(ask(engine.tensor(each, [3, 2], "u8"))).toEqual(ask(each));
    expect(() => ask([1, 1])).toThrow(/data of shape \[3, 2\] for valid/);
    expect(() => ask(engine.tensor([1, 1], [2], "u8"))).toThrow(/shape \[3\] for valid/);
    expect(() => ask(engine.zeros([2, 3], "u8"))).toThrow(/shape \[3, 2\] for valid/);
    expect(() => ask(engine.zeros([3]))).toThrow(/u8 for valid/);
  });

  it("ema is one number or shaped as the centre", () => {
    const given = { groupOffsets: [0, 2, 4], center: "ema", scale: "none" } as const;
    const ask = (ema: GroupNormOptions["ema"]) => [
      ...groupNorm(engine, [1, 2, 4, 8], { ...given, ema }).advantage.readSync(),
    ];
    expect(ask(1)).toEqual([0, 1, 3, 7]);
    expect(ask([1, 4])).toEqual([0, 1, 0, 4]);
    expect(() => ask([1, 4, 5])).toThrow(/data of shape \[2\] for ema/);
    const wide = { ...given, groupOffsets: [0, 2] };
    expect(refusal({ ...wide, ema: engine.zeros([2]) }, engine.zeros([2, 2]))).toMatch(
      /^ERR_SHAPE: Expected shape \[1, 2\] for ema /,
    );
  });

  it("keys are one a row, strings or numbers", () => {
    const byKey = (keys: unknown) => refusal({ groupOffsets: undefined, keys });
    expect(byKey([1, 2])).toMatch(/^ERR_SHAPE: Expected 4 keys for keys /);
    expect(byKey([1, 2, {}, 4])).toMatch(/^ERR_OPTION: .* for keys\[2\] /);
    expect(byKey("abcd")).toMatch(/^ERR_OPTION: Expected an array for keys /);
    // A number and its text are two keys.
    const { advantage } = groupNorm(engine, [1, 2], { keys: [1, "1"], singleton: "value", eps: 0 });
    expect([...advantage.readSync()]).toEqual([1, 2]);
  });
});
