import type { Tokenizer } from "../../contract/index.js";
import { aText, checkArguments, either, listOf, numbers } from "../../engine/arguments.js";
import { checkInteger, invalid, show } from "../../engine/checks.js";
import { FiresteelError } from "../../engine/error.js";

/** One token per symbol of a closed vocabulary, and one that ends a completion. */
export class CharTokenizer implements Tokenizer {
  /** By id; null at the end-of-sequence id. */
  readonly symbols: readonly (string | null)[];
  readonly endOfSequence: number;
  readonly #ids = new Map<string, number>();

  /**
   * @param symbols distinct Unicode characters; ids count in this order
   * @param endOfSequence id of the token that ends a completion; default: after the last symbol
   * @throws FiresteelError ERR_OPTION, ERR_RANGE
   */
  constructor(symbols: string | readonly string[], endOfSequence?: number) {
    checkArguments({ symbols }, { symbols: either(listOf(aText), aText) });
    const characters: (string | null)[] = [...symbols];
    this.endOfSequence = checkInteger(
      "endOfSequence",
      endOfSequence ?? characters.length,
      0,
      characters.length,
    );
    characters.splice(this.endOfSequence, 0, null);
    this.symbols = characters;
    for (const [id, symbol] of characters.entries()) {
      if (symbol === null) continue;
      if ([...symbol].length !== 1) {
        throw invalid("ERR_OPTION", `symbols[${id}]`, "one character", symbol);
      }
      if (this.#ids.has(symbol)) {
        throw invalid("ERR_OPTION", "symbols", "distinct characters", symbol);
      }
      this.#ids.set(symbol, id);
    }
  }

  /** How many token ids there are, the one that ends a completion included. */
  get vocabularySize(): number {
    return this.symbols.length;
  }

  /** @throws FiresteelError ERR_OPTION, ERR_RANGE where the text has no encoding */
  encode(text: string): Int32Array {
    checkArguments({ text }, { text: aText });
    return Int32Array.from([...text], (symbol, at) => {
      const id = this.#ids.get(symbol);
      if (id !== undefined) return id;
      const known = [...this.#ids.keys()].join("");
      throw new FiresteelError(
        "ERR_RANGE",
        `Expected symbols among ${JSON.stringify(known)} but received ${show(symbol)} at ${at}`,
      );
    });
  }

  /** @throws FiresteelError ERR_OPTION, ERR_RANGE for an id beyond the vocabulary */
  decode(ids: Int32Array): string {
    checkArguments({ ids }, { ids: numbers });
    let text = "";
    for (let i = 0; i < ids.length; ++i) {
      const id = ids[i]!;
      checkInteger(`ids[${i}]`, id, 0, this.vocabularySize - 1);
      text += this.symbols[id] ?? "";
    }
    return text;
  }
}
