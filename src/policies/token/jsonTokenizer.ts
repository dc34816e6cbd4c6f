import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import type { Tokenizer } from "../../contract/index.js";
import { checkInteger, show } from "../../engine/checks.js";
import { FiresteelError } from "../../engine/error.js";

/** The texts of a tokenizer's files, as they lie in a policy's folder. */
export interface TokenizerTexts {
  /** tokenizer.json */
  readonly tokenizer: string;
  /** tokenizer_config.json */
  readonly config: string;
}

/** The tokenizer of a published checkpoint: whatever `tokenizer.json` describes. */
export class JsonTokenizer implements Tokenizer {
  readonly vocabularySize: number;
  readonly endOfSequence: number;
  /** As read, and as they are written again. */
  readonly texts: TokenizerTexts;
  readonly #tokenizer: HuggingFaceTokenizer;
  readonly #unknown: number | null;

  /** @throws FiresteelError ERR_OPTION, and what JSON.parse and the tokenizers library throw */
  constructor(texts: TokenizerTexts) {
    this.texts = texts;
    const config = JSON.parse(texts.config) as Record<string, unknown>;
    this.#tokenizer = new HuggingFaceTokenizer(JSON.parse(texts.tokenizer), config);
    const ids = this.#tokenizer.get_vocab(true).values();
    this.vocabularySize = [...ids].reduce((most, id) => Math.max(most, id), -1) + 1;
    const end = this.#idOf(config.eos_token);
    if (end === null) {
      throw new FiresteelError(
        "ERR_OPTION",
        `Expected a token of the vocabulary for eos_token but found ${show(config.eos_token)}`,
      );
    }
    this.endOfSequence = end;
    this.#unknown = this.#idOf(config.unk_token);
  }

  /** Files have special tokens as text, or as an object with their text. */
  #idOf(token: unknown): number | null {
    const text =
      typeof token === "string" ? token : (token as { content?: unknown } | null)?.content;
    return typeof text === "string" ? (this.#tokenizer.token_to_id(text) ?? null) : null;
  }

  encode(text: string): Int32Array {
    const { ids } = this.#tokenizer.encode(text, { add_special_tokens: false });
    if (this.#unknown !== null && ids.includes(this.#unknown)) {
      const message = `Expected text that the tokenizer can encode but received ${show(text)}`;
      throw new FiresteelError("ERR_RANGE", message);
    }
    return Int32Array.from(ids);
  }

  decode(ids: Int32Array): string {
    for (const [i, id] of ids.entries()) checkInteger(`ids[${i}]`, id, 0, this.vocabularySize - 1);
    return this.#tokenizer.decode([...ids], { skip_special_tokens: true });
  }
}
