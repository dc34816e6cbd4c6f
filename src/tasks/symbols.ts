import type { Tokenizer } from "../contract/data.js";
import { FiresteelError } from "../engine/error.js";

/**
 * One token per symbol of a closed alphabet, and a last one that ends a completion.
 *
 * @param alphabet distinct characters; the first has id 0
 */
export function symbolTokenizer(alphabet: string): Tokenizer {
  const symbols = [...alphabet];
  const ids = new Map(symbols.map((symbol, id) => [symbol, id]));
  if (ids.size !== symbols.length) {
    throw new FiresteelError("ERR_OPTION", "Expected distinct symbols in the alphabet");
  }
  return {
    vocabularySize: symbols.length + 1,
    endOfSequence: symbols.length,
    encode(text) {
      return Int32Array.from([...text], (symbol, at) => {
        const id = ids.get(symbol);
        if (id !== undefined) return id;
        throw new FiresteelError(
          "ERR_RANGE",
          `Expected symbols among "${alphabet}" but received ${JSON.stringify(symbol)} at ${at}`,
        );
      });
    },
    decode: (tokens) => Array.from(tokens, (id) => symbols[id] ?? "").join(""),
  };
}
