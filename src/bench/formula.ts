/**
 * A count as data: a sum of products of numbers and named sizes, "b*T*V + 16*T". Kernels state bytes
 * and flops this way, so that what is computed is what documentation prints.
 */
export type Formula = string;

/** @throws Error where the formula reads a size that is not there: a mistake in a bench. */
export function evaluate(formula: Formula, sizes: Readonly<Record<string, number>>): number {
  const value = (factor: string): number => {
    const number = sizes[factor] ?? Number(factor);
    if (Number.isNaN(number)) throw new Error(`No size "${factor}" for the formula "${formula}"`);
    return number;
  };
  return formula
    .split("+")
    .map((term) => term.split("*").reduce((product, f) => product * value(f.trim()), 1))
    .reduce((sum, term) => sum + term, 0);
}
