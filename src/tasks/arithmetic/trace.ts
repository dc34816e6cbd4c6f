export const base = 4;
export const digits = 4;

/** The running sums modulo the base, first digit left out: the last one is the answer. */
export function trace(summands: readonly number[]): number[] {
  const sums: number[] = [];
  summands.reduce((sum, digit) => {
    sums.push((sum + digit) % base);
    return sums.at(-1)!;
  });
  return sums;
}

/**
 * A trace by someone who has the skill but slips: where a sum wraps around, v + 1 with probability
 * `wrap`, else a random digit with probability `noise`. Later sums go on from what was written.
 */
export function blurredTrace(
  summands: readonly number[],
  uniform: () => number,
  { wrap = 0.6, noise = 0.05 } = {},
): number[] {
  const sums: number[] = [];
  summands.reduce((sum, digit) => {
    const exactSum = sum + digit;
    let written = exactSum % base;
    if (exactSum >= base && uniform() < wrap) written = (written + 1) % base;
    else if (uniform() < noise) written = Math.floor(uniform() * base);
    sums.push(written);
    return written;
  });
  return sums;
}
