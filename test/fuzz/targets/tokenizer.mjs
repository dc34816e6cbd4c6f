import assert from "node:assert/strict";
import { CharTokenizer } from "../../../dist/policies/token/charTokenizer.js";
import { formatTokenizer, parseTokenizer } from "../../../dist/policies/token/tokenizerFiles.js";
import { accepted } from "../refusal.mjs";

export const dictionary = [
  ...["model", "vocab", "merges", "added_tokens", "content", "special", "normalizer", "decoder"],
  ...["pre_tokenizer", "post_processor", "BPE", "WordPiece", "Unigram", "ByteLevel", "Sequence"],
  ...[
    "type",
    "Fuse",
    "unk_token",
    "unk_id",
    "eos_token",
    "byte_fallback",
    "Split",
    "Regex",
    "null",
  ],
  ...[
    "Metaspace",
    "Replace",
    "pattern",
    "String",
    "Lowercase",
    "NFKC",
    "BertPreTokenizer",
    "<|end|>",
  ],
];

const separator = "\n---\n";

/**
 * tokenizer.json, tokenizer_config.json and a text, with a line of three hyphens between them. What loads
 * encodes and decodes the text, or says why not; a closed vocabulary gives back every text that it
 * encodes, and is written down and read as itself.
 */
export async function fuzz(bytes) {
  const [tokenizer, config = "{}", text = "1+1=2"] = bytes.toString("utf8").split(separator);
  const loaded = await accepted(() => parseTokenizer({ tokenizer, config }, "tokenizer.json"));
  if (loaded === null) return;
  assert.ok(Number.isInteger(loaded.endOfSequence) && loaded.endOfSequence < loaded.vocabularySize);
  const ids = await accepted(() => loaded.encode(text));
  if (ids === null) return;
  const decoded = await accepted(() => loaded.decode(ids));
  assert.ok(decoded === null || typeof decoded === "string");
  if (!(loaded instanceof CharTokenizer)) return;
  assert.equal(decoded, text);
  const again = parseTokenizer(formatTokenizer(loaded), "tokenizer.json");
  assert.ok(again instanceof CharTokenizer);
  assert.deepEqual(again.symbols, loaded.symbols);
}
