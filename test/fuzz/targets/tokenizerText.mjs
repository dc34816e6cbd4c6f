import assert from "node:assert/strict";
import { parseTokenizer } from "../../../dist/policies/token/tokenizerFiles.js";

/** Printable stand-ins of all 256 bytes, as byte-level vocabularies write them. */
function byteSymbols() {
  const plain = [
    [33, 126],
    [161, 172],
    [174, 255],
  ];
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = plain.some(([low, high]) => byte >= low && byte <= high);
    return String.fromCodePoint(printable ? byte : next++);
  });
}

const merges = [
  ["t", "h"],
  ["th", "e"],
  ["Ġ", "the"],
  ["i", "n"],
  ["1", "2"],
  ["\\", "f"],
];
const tokens = [...byteSymbols(), ...merges.map((pair) => pair.join("")), "<|end|>"];

/** Byte-level byte-pair encoding, as Llama's and Qwen's tokenizers have it. */
const byteLevel = parseTokenizer(
  {
    tokenizer: JSON.stringify({
      version: "1.0",
      added_tokens: [{ id: tokens.length - 1, content: "<|end|>", special: true }],
      normalizer: null,
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
      post_processor: null,
      decoder: { type: "ByteLevel" },
      model: {
        type: "BPE",
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges: merges.map((pair) => pair.join(" ")),
      },
    }),
    config: JSON.stringify({ eos_token: "<|end|>", clean_up_tokenization_spaces: false }),
  },
  "tokenizer.json",
);

export const dictionary = [
  "<|end|>",
  "<|",
  "|>",
  "the",
  "\\frac",
  "\u{1f525}",
  "é",
  "\u200d",
  "\r\n",
];

/** A text through a byte-level vocabulary: it comes back, but for special tokens, which have none. */
export async function fuzz(bytes) {
  const text = bytes.toString("utf8");
  const ids = byteLevel.encode(text);
  assert.equal(byteLevel.decode(ids), text.replaceAll("<|end|>", ""));
}
