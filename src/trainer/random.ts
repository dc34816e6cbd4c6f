import type { RandomStream } from "../contract/sampler.js";
import { deriveStream, random } from "../nn/random.js";

/** What a random stream is for: streams of different purposes never meet. */
const purposes = {
  policy: 0,
  warmStart: 1,
  promptOrder: 2,
  rollout: 3,
  stage: 4,
  minibatch: 5,
  evaluation: 6,
  mixture: 7,
  imitation: 8,
  initialNoise: 9,
} as const;

/**
 * The stream of a place in a run, e.g. (seed, "rollout", step, phase, call, prompt, sample). Streams
 * are named, never advanced from one another, so a resumed run draws what an uninterrupted one would.
 */
export function streamAt(
  seed: number,
  purpose: keyof typeof purposes,
  ...place: readonly number[]
): RandomStream {
  return deriveStream(seed, purposes[purpose], ...place);
}

/** Numbers in [0, 1) from a place's stream, 53 bits each. */
export function uniformAt(
  seed: number,
  purpose: keyof typeof purposes,
  ...place: readonly number[]
): () => number {
  return random(streamAt(seed, purpose, ...place)).uniform;
}

/** The numbers 0 .. count - 1 in random order (Fisher-Yates). */
export function permutation(count: number, uniform: () => number): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; --i) {
    const j = Math.floor(uniform() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
