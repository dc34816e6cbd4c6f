import { describe, expect, it } from "vitest";
import {
  CharTokenizer,
  formatTokenizer,
  parseTokenizer,
} from "../../src/policies/token/charTokenizer.js";

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

describe("a tokenizer's file", () => {
  it("gives the same tokenizer, wherever its end token stands", () => {
    for (const end of [0, 2, 4]) {
      const first = new CharTokenizer("01=😀", end);
      const again = parseTokenizer(formatTokenizer(first), "symbols.json");
      expect([again.symbols, again.endOfSequence]).toEqual([first.symbols, end]);
    }
  });

  it("cannot hold a tokenizer whose tokens are not characters", () => {
    const pairs = {
      ...tokenizer,
      vocabularySize: 2,
      endOfSequence: 1,
      encode: () => Int32Array.of(0),
      decode: () => "ab",
    };
    expect(() => formatTokenizer(pairs)).toThrow(expect.objectContaining({ code: "ERR_OPTION" }));
  });

  it.each([
    ["{", "JSON"],
    ["null", "null"],
    ['{"type":"words","symbols":[],"endOfSequence":0}', "type"],
    ['{"type":"characters","symbols":"ab","endOfSequence":0}', "symbols"],
    ['{"type":"characters","symbols":["a","a"],"endOfSequence":0}', "distinct"],
    ['{"type":"characters","symbols":["a"],"endOfSequence":7}', "endOfSequence"],
  ])("is refused when it is %s", (text, reason) => {
    expect(() => parseTokenizer(text, "symbols.json")).toThrow(
      expect.objectContaining({
        code: "ERR_CHECKPOINT",
        message: expect.stringMatching(new RegExp(`symbols.json: .*${reason}`)),
      }),
    );
  });
});
