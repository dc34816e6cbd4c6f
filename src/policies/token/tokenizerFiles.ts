import type { Tokenizer } from "../../contract/index.js";
import { invalid } from "../../engine/checks.js";
import { FiresteelError } from "../../engine/error.js";
import { CharTokenizer } from "./charTokenizer.js";
import { JsonTokenizer, type TokenizerTexts } from "./jsonTokenizer.js";

/** What the token that ends a completion is called in files; it has no text of its own. */
const endToken = "<|end|>";

/**
 * The files of a tokenizer, as Hugging Face's libraries read them. A closed vocabulary, whoever
 * implements it, becomes byte-pair encoding without merges: one character per token.
 *
 * @throws FiresteelError ERR_OPTION where a token of it does not stand for one character
 */
export function formatTokenizer(tokenizer: Tokenizer): TokenizerTexts {
  if (tokenizer instanceof JsonTokenizer) return tokenizer.texts;
  const { endOfSequence } = tokenizer;
  const vocab: Record<string, number> = {};
  for (let id = 0; id < tokenizer.vocabularySize; ++id) {
    vocab[id === endOfSequence ? endToken : characterOf(tokenizer, id)] = id;
  }
  const end = {
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  };
  return {
    tokenizer: written({
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: [{ id: endOfSequence, content: endToken, ...end }],
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: { type: "Fuse" },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        vocab,
        merges: [],
      },
    }),
    config: written({
      tokenizer_class: "PreTrainedTokenizerFast",
      eos_token: endToken,
      clean_up_tokenization_spaces: false,
    }),
  };
}

function written(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function characterOf(tokenizer: Tokenizer, id: number): string {
  const symbol = tokenizer.decode(Int32Array.of(id));
  if ([...symbol].length === 1 && tokenizer.encode(symbol).join() === `${id}`) return symbol;
  throw invalid("ERR_OPTION", `token ${id} of the tokenizer`, "a character of its own", symbol);
}

/**
 * The tokenizer of a policy's folder. A closed vocabulary of single characters refuses every other
 * character; any other tokenizer is the library's.
 *
 * @param path of tokenizer.json, for messages
 * @throws FiresteelError ERR_CHECKPOINT
 */
export function parseTokenizer(texts: TokenizerTexts, path: string): Tokenizer {
  try {
    return closedVocabulary(texts) ?? new JsonTokenizer(texts);
  } catch (cause) {
    throw new FiresteelError("ERR_CHECKPOINT", `${path}: ${(cause as Error).message}`, { cause });
  }
}

/** null where the file is not one that `formatTokenizer` writes. */
function closedVocabulary({ tokenizer: text }: TokenizerTexts): CharTokenizer | null {
  const { model } = JSON.parse(text) as { model?: { vocab?: Record<string, number> } };
  const byId = Object.entries(model?.vocab ?? {}).sort(([, a], [, b]) => a - b);
  const end = byId.findIndex(([symbol]) => symbol === endToken);
  const symbols = byId.map(([symbol]) => symbol).filter((symbol) => symbol !== endToken);
  if (end === -1 || !symbols.every((symbol) => [...symbol].length === 1)) return null;
  const tokenizer = new CharTokenizer(symbols, end);
  const same =
    JSON.stringify(JSON.parse(text)) ===
    JSON.stringify(JSON.parse(formatTokenizer(tokenizer).tokenizer));
  return same ? tokenizer : null;
}
