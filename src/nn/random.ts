import { uniformFloat32 } from "pure-rand/distribution/uniformFloat32";
import { uniformFloat64 } from "pure-rand/distribution/uniformFloat64";
import { xoroshiro128plusFromState } from "pure-rand/generator/xoroshiro128plus";
import type { RandomStream } from "../contract/index.js";
import { checkInteger } from "../engine/checks.js";

/** A reproducible sequence: the same stream gives the same numbers on every machine. */
export interface Random {
  /** In [0, 1), 53 bits. */
  uniform(): number;
  /** In [0, 1), 24 bits: exact in float32, where 53 bits could round to 1. */
  uniform32(): number;
  /** Standard normal. */
  normal(): number;
}

/** The sequence of a stream (xoroshiro128+). */
export function random(stream: RandomStream): Random {
  const [a, b] = stream;
  // The generator's state must not be all zero, and close streams must not give close states.
  const state = Array.from({ length: 4 }, (_, word) => deriveSeed(a >>> 0, b >>> 0, word));
  if (!state.some((word) => word !== 0)) state[0] = 1;
  const generator = xoroshiro128plusFromState(state);
  let spare: number | null = null;
  const uniform = () => uniformFloat64(generator);
  return {
    uniform,
    uniform32: () => uniformFloat32(generator),
    normal() {
      if (spare !== null) {
        const value = spare;
        spare = null;
        return value;
      }
      // Box and Muller 1958; 1 - u keeps the logarithm finite.
      const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
      const angle = 2 * Math.PI * uniform();
      spare = radius * Math.sin(angle);
      return radius * Math.cos(angle);
    },
  };
}

/**
 * A 32-bit seed from a seed and what it is for, e.g. (seed, step, prompt, sample). Seeds that differ
 * in the last id alone (below 2^32) never coincide: MurmurHash3's mix is a bijection of each word.
 *
 * @param ids integers in [0, 2^53 - 1]
 * @throws FiresteelError ERR_RANGE
 */
export function deriveSeed(seed: number, ...ids: readonly number[]): number {
  let hash = mix(0x9747b28c, checkId(seed, -1));
  for (let i = 0; i < ids.length; ++i) {
    const id = checkId(ids[i]!, i);
    const high = Math.floor(id / 2 ** 32);
    if (high !== 0) hash = mix(hash, high);
    hash = mix(hash, id >>> 0);
  }
  hash ^= ids.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** As `deriveSeed`, 64 bits wide: for streams of which a run draws many. */
export function deriveStream(seed: number, ...ids: readonly number[]): RandomStream {
  return [deriveSeed(seed, 0, ...ids), deriveSeed(seed, 1, ...ids)];
}

/** A name as ids: the numbers of its symbols. */
export function nameIds(name: string): number[] {
  return Array.from(name, (symbol) => symbol.codePointAt(0)!);
}

/** A rollout takes a dozen of these: names are made up for those that are refused. */
function checkId(value: number, index: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  const name = index < 0 ? "seed" : `ids[${index}]`;
  return checkInteger(name, value, 0, Number.MAX_SAFE_INTEGER);
}

function mix(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = (k << 15) | (k >>> 17);
  let h = hash ^ Math.imul(k, 0x1b873593);
  h = (h << 13) | (h >>> 19);
  return (Math.imul(h, 5) + 0xe6546b64) | 0;
}
