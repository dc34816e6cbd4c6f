import { describe, expect, test } from "vitest";
import type { Label, RewardContext } from "../../src/contract/index.js";
import { verifiers } from "../../src/index.js";
import { prompt } from "../blocks/trajectories.js";

const { choice, extractions, fillIn, firstBoxed, lastBoxed, numeric, verified } = verifiers;

describe("boxed answers", () => {
  test.each([
    ["so \\boxed{ \\frac{1}{2} } done \\boxed{3}", "\\frac{1}{2}", "3"],
    ["\\boxed{\\boxed{4}}", "\\boxed{4}", "\\boxed{4}"],
    ["\\boxed {7}", "7", "7"],
    ["\\boxed{\\{1, 2\\}}", "\\{1, 2\\}", "\\{1, 2\\}"],
    ["\\boxed{a}} \\boxed{b}", "a", "b"],
    ["never closed: \\boxed{1 + {2}", "1 + {2}", "1 + {2}"],
    ["\\boxed{1} \\boxed{2", "1", "2"],
    ["\\boxed{1} \\boxed{}", "1", null],
    ["\\boxed{  } \\boxed{1}", null, "1"],
    ["\\boxed{", null, null],
    ["\\boxed 5, \\box{5}, boxed{5}", null, null],
    ["", null, null],
  ])("of %j the first is %j, the last %j", (text, first, last) => {
    expect(firstBoxed(text)).toBe(first);
    expect(lastBoxed(text)).toBe(last);
  });
});

describe("numeric", () => {
  test.each<[string, string | number, 0 | 1, verifiers.NumericOptions?]>([
    ["42", 42, 1],
    ["42.0", "42", 1],
    ["1,234,567", 1234567, 1],
    ["-3/4", -0.75, 1],
    ["12.5%", "0.125", 1],
    ["2.5e-3", 0.0025, 1],
    ["1.2 x 10^3", 1200, 1],
    ["5.", 5, 1],
    ["−7", -7, 1],
    ["0.333", "1/3", 0],
    ["1,23", 123, 0],
    ["12,3456", 123456, 0],
    ["1/0", 0, 0],
    ["4 2", 42, 0],
    ["42 apples", 42, 0],
    ["$42", 42, 0],
    ["about 42", 42, 0],
    ["NaN", 0, 0],
    ["Infinity", "Infinity", 0],
    ["0x10", 16, 0],
    ["", 0, 0],
    ["9007199254740993", "9007199254740992", 0],
    ["0.333", "1/3", 1, { absolute: 1e-3 }],
    ["0.3", "1/3", 0, { absolute: 1e-3 }],
    ["1010", 1000, 1, { relative: 0.01 }],
    ["1011", 1000, 0, { relative: 0.01 }],
    ["-990", -1000, 1, { relative: 0.01 }],
    ["990", -1000, 0, { relative: 0.01 }],
    ["1e-300", 0, 0, { relative: 0.5 }],
    ["1e300", "1e299", 0, { absolute: 1 }],
    ["42 km", 42, 1, { units: ["km", "$"] }],
    ["$42", "42", 1, { units: ["km", "$"] }],
    ["-$42", "-42", 1, { units: ["$"] }],
    ["42 m", 42, 0, { units: ["km"] }],
  ])("%j against %j: %i", (answer, label, expected, options) => {
    expect(numeric(answer, label, options)).toBe(expected);
  });

  test("refuses options that are none", () => {
    expect(() => numeric("1", 1, { tolerance: 1 } as never)).toThrow(/received "tolerance"/);
    expect(() => numeric("1", 1, { absolute: -1 })).toThrow(/for numeric.absolute but received -1/);
  });
});

describe("choice", () => {
  const cities = ["London", "Paris", "Rome"];
  test.each<[string, string, 0 | 1, string[]?]>([
    ["B", "B", 1],
    ["b", "B", 1],
    ["(B)", "B", 1],
    ["B.", "B", 1],
    ["**B**", "B", 1],
    ["\\text{(B)}", "B", 1],
    ["B) Paris", "B", 1],
    ["The answer is B", "B", 1],
    ["A", "B", 0],
    ["A or B", "A", 0],
    ["A, B", "A", 0],
    ["AB", "A", 0],
    ["Because", "B", 0],
    ["", "B", 0],
    ["Paris", "B", 1, cities],
    ["paris.", "B", 1, cities],
    ["B. Paris", "B", 1, cities],
    ["B", "Paris", 1, cities],
    ["B. Rome", "B", 0, cities],
    ["Berlin", "B", 0, cities],
    ["D", "D", 0, cities],
    ["Paris", "B", 0, ["London", "Paris", "Paris"]],
  ])("%j against %j: %i", (answer, label, expected, options) => {
    expect(choice(answer, label, options)).toBe(expected);
  });
});

describe("fillIn", () => {
  test.each<[string, Parameters<typeof fillIn>[1], number, verifiers.FillInOptions?]>([
    ["Paris; 2", ["Paris", ["2", "two"]], 1],
    ["paris ;  TWO", ["Paris", ["2", "two"]], 1],
    ["2; Paris", ["Paris", "2"], 0],
    ["Paris", ["Paris", "2"], 0],
    ["Paris; 2; 3", ["Paris", "2"], 0],
    ["Paris; 3", ["Paris", "2"], 0],
    ["a; b", "a; b", 1],
    ["; ", ["", ""], 0],
    ["Paris; 3", ["Paris", "2"], 0.5, { credit: "share" }],
    ["1|0.5", ["1", "\\frac12"], 1, { separator: "|", blank: verifiers.math }],
  ])("%j against %j: %d", (answer, label, expected, options) => {
    expect(fillIn(answer, label, options)).toBe(expected);
  });

  test("refuses options that are none", () => {
    expect(() => fillIn("a", "a", { credit: "some" as never })).toThrow(/one of "all", "share"/);
    expect(() => fillIn("a", "a", { separator: "" })).toThrow(/a text for fillIn.separator/);
  });
});

test.each<[keyof typeof extractions, string, string | null]>([
  ["text", "  7 \n", "7"],
  ["text", " \n", null],
  ["first-boxed", "\\boxed{1} \\boxed{2}", "1"],
  ["last-boxed", "\\boxed{1} \\boxed{2}", "2"],
  ["last-line", "because\n\n 42 \n", "42"],
  ["after-hashes", "6 * 7 = 42\n#### 42", "42"],
  ["after-hashes", "42", null],
  ["last-number", "first 3, then 1,234.5.", "1,234.5"],
  ["last-number", "it is -7", "-7"],
  ["last-number", "none", null],
])("the answer by %s of %j is %j", (name, completion, expected) => {
  expect(extractions[name](completion)).toBe(expected);
});

describe("verified", () => {
  const rewards = (
    options: verifiers.VerifiedOptions,
    rows: readonly (readonly [string, Label | null, Record<string, unknown>?])[],
  ) =>
    verified(options)({
      completions: rows.map(([completion]) => completion),
      prompts: rows.map(([, label, columns]) => ({ ...prompt("p", columns), label })),
      trajectories: [],
      columns: {},
      signal: new AbortController().signal,
    } satisfies RewardContext);

  test("extracts, compares, and does not apply without a label", () => {
    expect(
      rewards({ verifier: "math", answer: "last-boxed" }, [
        ["\\boxed{0.5}", "\\frac12"],
        ["0.5", "\\frac12"],
        ["\\boxed{2}", null],
      ]),
    ).toEqual([1, 0, null]);
    expect(rewards({ verifier: "exact" }, [["7", 7]])).toEqual([1]);
    const options = { options: ["x", "y"] };
    expect(
      rewards({ verifier: "choice", optionsColumn: "options" }, [["y", "B", options]]),
    ).toEqual([1]);
    expect(
      rewards({ verifier: "fill-in", fillIn: { credit: "share" } }, [["a; c", ["a", "b"]]]),
    ).toEqual([0.5]);
    const longer = (answer: string | null, label: Label) =>
      answer!.length > Number(label) ? 1 : 0;
    expect(rewards({ verifier: longer }, [["abc", 2]])).toEqual([1]);
  });

  test.each<[string, object, RegExp]>([
    ["an unknown verifier", { verifier: "maths" }, /received "maths" \(did you mean "math"\?\)/],
    ["an unknown place", { verifier: "math", answer: "boxed" }, /for verified.answer but received/],
    ["another's options", { verifier: "math", numeric: {} }, /read by the verifier "numeric"/],
    ["an unknown option", { verifier: "math", lable: 1 }, /received "lable"/],
  ])("refuses %s", (_, options, message) => {
    expect(() => verified(options as never)).toThrow(message);
  });

  test("names the prompt whose label cannot be compared with", () => {
    const call = () => rewards({ verifier: "numeric" }, [["1", { a: 1 }]]);
    expect(call).toThrow(/a text or a number as label of prompt "p"/);
  });
});
