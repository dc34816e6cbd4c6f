import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";

/** Bytes on which readers turn: ends of lists and texts, signs, escapes, the highest bits. */
const telling = Buffer.from('\0\n"\\{}[],:-0189.eE/ \x7f\x80\xc0\xff', "latin1");

/**
 * Variations of the kept inputs, as libFuzzer makes them but without its feedback: bytes changed, left
 * out, doubled, words put in, two inputs joined. The same seed gives the same ones.
 */
export function* mutations(inputs, { seed, count, maxLength, dictionary }) {
  const random = xoroshiro128plus(seed);
  const below = (n) => uniformInt(random, 0, n - 1);
  const pick = (list) => list[below(list.length)];
  const edits = [
    (bytes, at) => replaced(bytes, at, at + 1, Buffer.of(below(256))),
    (bytes, at) => replaced(bytes, at, at + 1, Buffer.of(pick(telling))),
    (bytes, at) => replaced(bytes, at, at, Buffer.of(pick(telling))),
    (bytes, at) => replaced(bytes, at, at + 1 + below(16), Buffer.alloc(0)),
    (bytes, at) => replaced(bytes, at, at, bytes.subarray(at, at + 1 + below(64))),
    (bytes, at) => replaced(bytes, at, at + below(8), Buffer.from(pick(dictionary))),
    (bytes, at) => replaced(bytes, at, bytes.length, pick(inputs).subarray(below(64))),
    (bytes, at) =>
      replaced(bytes, at, at + 1, Buffer.from(`${pick([-1, 0, 1e9, 2 ** 53, 1e308])}`)),
  ];
  for (let i = 0; i < count; ++i) {
    let bytes = pick(inputs);
    for (let left = 1 + below(4); left > 0; --left)
      bytes = pick(edits)(bytes, below(bytes.length + 1));
    yield bytes.subarray(0, maxLength);
  }
}

function replaced(bytes, begin, end, by) {
  return Buffer.concat([bytes.subarray(0, begin), by, bytes.subarray(end)]);
}
