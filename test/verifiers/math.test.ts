import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";
import { describe, expect, test } from "vitest";
import { math } from "../../src/verifiers/math.js";
import { equalPairs, unequalPairs } from "./mathPairs.js";

describe("math", () => {
  test.each(equalPairs)("%s says what %s says", (a, b) => {
    expect(math(a, b)).toBe(1);
    expect(math(b, a)).toBe(1);
  });

  test.each(unequalPairs)("%s is not %s", (a, b) => {
    expect(math(a, b)).toBe(0);
    expect(math(b, a)).toBe(0);
  });

  test("every answer of the table equals itself", () => {
    const all = [...equalPairs, ...unequalPairs].flat().filter((text) => text.trim() !== "");
    for (const text of all)
      if (text !== "\\boxed{}") expect([text, math(text, text)]).toEqual([text, 1]);
  });

  test("takes a number as label, and refuses a missing answer", () => {
    expect(math("\\frac{6}{3}", 2)).toBe(1);
    expect(math("-0.5", -0.5)).toBe(1);
    expect(math(null, 2)).toBe(0);
    expect(math("", "")).toBe(0);
  });
});

/** A random sum, product or quotient as LaTeX, and its value n / d from arithmetic of the test's own. */
function randomTerm(draw: (most: number) => number, depth: number): [string, bigint, bigint] {
  if (depth === 0 || draw(4) === 0) {
    const n = draw(30);
    return draw(2) === 0 ? [`${n}.5`, BigInt(2 * n + 1), 2n] : [`${n}`, BigInt(n), 1n];
  }
  const [a, n, d] = randomTerm(draw, depth - 1);
  const [b, m, e] = randomTerm(draw, depth - 1);
  switch (draw(m === 0n ? 2 : 3)) {
    case 0:
      return [`\\left(${a}+${b}\\right)`, n * e + m * d, d * e];
    case 1:
      return [`(${a} - ${b})`, n * e - m * d, d * e];
    case 2:
      return [draw(1) === 0 ? `(${a})(${b})` : `${a} \\cdot {${b}}`, n * m, d * e];
    default:
      return [`\\frac{${a}}{${b}}`, n * e, d * m];
  }
}

test("math computes exactly: random terms are their values, and nothing beside them", () => {
  const random = xoroshiro128plus(7);
  const draw = (most: number) => uniformInt(random, 0, most);
  for (let i = 0; i < 300; ++i) {
    const [text, n, d] = randomTerm(draw, 3);
    expect([text, math(text, `${n}/${d}`)]).toEqual([text, 1]);
    const beside = `\\frac{${n * 10n ** 12n + 1n}}{${d * 10n ** 12n}}`;
    expect([text, math(text, beside)]).toEqual([text, 0]);
    const symbolic = text.replace(/\b7\b(?!\.)/g, "x");
    expect([symbolic, math(`(${symbolic})^2`, `(${symbolic})(${symbolic})`)]).toEqual([
      symbolic,
      1,
    ]);
    expect([symbolic, math(`${symbolic} + y`, `${symbolic} - y`)]).toEqual([symbolic, 0]);
  }
});

describe("math takes any text", () => {
  const pieces = (
    "0 1 2 9 10 1,000 .5 3. x y e i ab word \\frac \\sqrt \\sqrt[3] { } ( ) [ ] \\{ \\} ^ _ + - * / ! % = < > " +
    "| , ; : & \\\\ \\pi \\infty \\pm \\cup \\in \\log_ \\sin \\ln \\text{cm} \\left( \\right) \\begin{pmatrix} " +
    "\\end{pmatrix} \\boxed{ $ \\$ \\degree \\binom \\cdot 9^9 99999999 ∞ √ ½ é 🙂 \u0000 \\ ' \" \\lfloor \\rfloor or"
  ).split(" ");

  test("and answers 0 to garbage, without an error", () => {
    const random = xoroshiro128plus(20);
    const draw = (most: number) => uniformInt(random, 0, most);
    // No piece or number of pieces makes these by chance.
    const labels = ["\\frac{12345}{67}+\\sqrt{7}", "(\\frac{5}{19}, 7)", "z^2+17z-w"];
    for (let i = 0; i < 1500; ++i) {
      const text = Array.from({ length: 1 + draw(24) }, () => pieces[draw(pieces.length - 1)]).join(
        draw(3) === 0 ? " " : "",
      );
      for (const label of labels) expect([text, math(text, label)]).toEqual([text, 0]);
      // The parser meets garbage on both sides, and says the same from either.
      const other = pieces[draw(pieces.length - 1)]!;
      expect([text, other, math(text, other)]).toEqual([text, other, math(other, text)]);
    }
  });

  test.each([
    ["deep brackets", `${"(".repeat(400)}1${")".repeat(400)}`],
    ["open brackets", "(".repeat(900)],
    ["mixed brackets", "([{".repeat(300)],
    ["half-open intervals", `${"(1,".repeat(100)}2${"]".repeat(100)}`],
    ["minus signs", `${"-".repeat(900)}1`],
    ["a tower of powers", Array(100).fill("9").join("^")],
    ["powers of powers", `${"(".repeat(30)}x+7${")^{99}".repeat(30)}`],
    ["factorials", `9${"!".repeat(300)}`],
    ["a great factorial", "99999999999!"],
    [
      "a long sum of fractions",
      Array.from({ length: 70 }, (_, i) => `\\frac{1}{${i + 9}}`).join("+"),
    ],
    ["a long product of sums", "(x+\\frac{1}{97})".repeat(40)],
    ["roots of roots", `${"\\sqrt{2+".repeat(38)}x${"}".repeat(38)}`],
    ["many values", Array.from({ length: 300 }, (_, i) => `x^{${i}}`).join(",")],
    ["a huge exponent", "10^{99999999999999999999}"],
    ["a huge number", "9".repeat(990)],
    ["many frac", "\\frac".repeat(150)],
    ["nested sets", "\\{".repeat(200) + "\\}".repeat(200)],
    ["a long text", "x+".repeat(200_000)],
    ["many letters", "a_".repeat(400)],
  ])(
    "%s come to an end",
    (_, text) => {
      expect(math(text, "\\sqrt{2}+x^2")).toBe(0);
      expect(math(text, text)).toBe(1);
      expect(math(text, `${text} + x`)).toBe(0);
    },
    2000,
  );
});
