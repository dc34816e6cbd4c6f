import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { describe, expect, it } from "vitest";
import { CharTokenizer } from "../../src/policies/token/charTokenizer.js";
import { formatTokenizer, parseTokenizer } from "../../src/policies/token/tokenizerFiles.js";

/** Digits as symbols would be sorted first by a JSON parser: ids must not follow. */
const tokenizer = new CharTokenizer("=1 0😀<", 2);
const texts = formatTokenizer(tokenizer);

/** A published checkpoint in small: byte-level pairs, with an unknown token for what it lacks. */
const pairs = {
  tokenizer: JSON.stringify({
    added_tokens: [
      { id: 5, content: "<|eot|>", special: true },
      { id: 6, content: "<unk>", special: true },
    ],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: "Fuse" },
    model: {
      type: "BPE",
      unk_token: "<unk>",
      vocab: { a: 0, b: 1, c: 2, ab: 3, abc: 4, "<unk>": 6 },
      merges: ["a b", "ab c"],
    },
  }),
  config: JSON.stringify({ eos_token: { content: "<|eot|>" }, unk_token: "<unk>" }),
};

describe("a tokenizer's files", () => {
  it("give the same tokenizer, wherever its end token stands", () => {
    for (const end of [0, 2, 4]) {
      const first = new CharTokenizer("01=😀", end);
      const again = parseTokenizer(formatTokenizer(first), "tokenizer.json") as CharTokenizer;
      expect([again.symbols, again.endOfSequence]).toEqual([first.symbols, end]);
    }
  });

  it("are read by Hugging Face's library to the same ids and texts", () => {
    const theirs = new HuggingFaceTokenizer(JSON.parse(texts.tokenizer), JSON.parse(texts.config));
    const text = "1 0=😀  <1";
    const ids = [...tokenizer.encode(text)];
    expect(theirs.encode(text).ids).toEqual(ids);
    const ended = [...ids, tokenizer.endOfSequence];
    expect(theirs.decode(ended, { skip_special_tokens: true })).toBe(text);
  });

  it("of a published checkpoint are used as they are, and written back unchanged", () => {
    const read = parseTokenizer(pairs, "tokenizer.json");
    expect([...read.encode("abcab")]).toEqual([4, 3]);
    expect(read.decode(Int32Array.of(4, 3, 5))).toBe("abcab");
    expect([read.vocabularySize, read.endOfSequence]).toEqual([7, 5]);
    expect(() => read.encode("abx")).toThrow(expect.objectContaining({ code: "ERR_RANGE" }));
    expect(() => read.decode(Int32Array.of(7))).toThrow("ids[0]");
    expect(formatTokenizer(read)).toEqual(pairs);
  });

  it("cannot hold a tokenizer whose tokens are neither characters nor a file's", () => {
    const two = {
      vocabularySize: 2,
      endOfSequence: 1,
      encode: () => Int32Array.of(0),
      decode: () => "ab",
    };
    expect(() => formatTokenizer(two)).toThrow(expect.objectContaining({ code: "ERR_OPTION" }));
  });

  it.each([
    ["{", "{}", "JSON"],
    ["null", "{}", "null"],
    ["[]", "{}", "."],
    [pairs.tokenizer, "{}", "eos_token"],
    [pairs.tokenizer, '{"eos_token":"</s>"}', "eos_token"],
  ])("are refused when they are %s and %s", (tokenizer, config, reason) => {
    expect(() => parseTokenizer({ tokenizer, config }, "DIR/tokenizer.json")).toThrow(
      expect.objectContaining({
        code: "ERR_CHECKPOINT",
        message: expect.stringMatching(new RegExp(`DIR/tokenizer.json: .*${reason}`)),
      }),
    );
  });
});
