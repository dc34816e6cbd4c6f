/**
 * One of several, by their weights.
 *
 * @param weights >= 0, relative to each other; at least one
 * @param uniform one draw in [0, 1)
 * @returns its index
 */
export function weightedIndex(weights: readonly number[], uniform: number): number {
  let left = uniform * weights.reduce((sum, weight) => sum + weight, 0);
  const found = weights.findIndex((weight) => {
    left -= weight;
    return left < 0;
  });
  // Rounding may leave a little.
  return found === -1 ? weights.length - 1 : found;
}
