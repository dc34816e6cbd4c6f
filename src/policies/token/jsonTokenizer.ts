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

/** Largest id of a token; vocabularies have at most about a million. */
const MAX_ID = 2 ** 24;

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
    let largest = -1;
    for (const [token, id] of this.#tokenizer.get_vocab(true)) {
      largest = Math.max(largest, checkInteger(`the id of ${show(token)}`, id, 0, MAX_ID));
    }
    this.vocabularySize = largest + 1;
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
    const id = typeof text === "string" ? this.#tokenizer.token_to_id(text) : undefined;
    // Added tokens bring ids of their own, whatever the vocabulary says.
    return id === undefined
      ? null
      : checkInteger(`the id of ${show(text)}`, id, 0, this.vocabularySize - 1);
  }

  /** @throws FiresteelError ERR_RANGE for text that has no tokens; ERR_CHECKPOINT */
  encode(text: string): Int32Array {
    const { ids } = this.#ask(() => this.#tokenizer.encode(text, { add_special_tokens: false }));
    const known = (id: unknown) => Number.isInteger(id) && (id as number) < this.vocabularySize;
    if (!ids.every(known) || (this.#unknown !== null && ids.includes(this.#unknown))) {
      const message = `Expected text that the tokenizer can encode but received ${show(text)}`;
      throw new FiresteelError("ERR_RANGE", message);
    }
    return Int32Array.from(ids);
  }

  /** @throws FiresteelError ERR_RANGE, ERR_CHECKPOINT */
  decode(ids: Int32Array): string {
    for (const [i, id] of ids.entries()) checkInteger(`ids[${i}]`, id, 0, this.vocabularySize - 1);
    // The library refuses a list of none.
    if (ids.length === 0) return "";
    return this.#ask(() => this.#tokenizer.decode([...ids], { skip_special_tokens: true }));
  }

  /** What is wrong with a file may show only when it is used. */
  #ask<T>(use: () => T): T {
    try {
      return use();
    } catch (cause) {
      const message = `Expected a tokenizer.json that works but ${(cause as Error).message}`;
      throw new FiresteelError("ERR_CHECKPOINT", message, { cause });
    }
  }
}
