import { describe, expect, it } from "vitest";
import { CharTokenizer } from "../../src/policies/token/charTokenizer.js";

const tokenizer = new CharTokenizer("01=😀");

describe("CharTokenizer", () => {
  it("turns text into ids and back", () => {
    const ids = tokenizer.encode("10=😀");
    expect([...ids]).toEqual([1, 0, 2, 3]);
    expect(tokenizer.decode(ids)).toBe("10=😀");
    expect(tokenizer.vocabularySize).toBe(5);
  });

  it("ends with a token that has no text", () => {
    expect(tokenizer.endOfSequence).toBe(4);
    expect(tokenizer.decode(Int32Array.of(0, 4))).toBe("0");
  });

  it("names an unknown symbol, its place and what is known", () => {
    expect(() => tokenizer.encode("0x1")).toThrow(
      expect.objectContaining({
        code: "ERR_RANGE",
        message: 'Expected symbols among "01=😀" but received "x" at 1',
      }),
    );
  });

  it.each([[-1], [5]])("refuses to decode %i", (id) => {
    expect(() => tokenizer.decode(Int32Array.of(id))).toThrow(
      expect.objectContaining({ code: "ERR_RANGE" }),
    );
  });

  it("refuses symbols that are not distinct characters", () => {
    for (const symbols of ["aa", ["ab"], [""]]) {
      expect(() => new CharTokenizer(symbols)).toThrow(
        expect.objectContaining({ code: "ERR_OPTION" }),
      );
    }
  });
});
