import { join } from "node:path";
import { bitsOf, firstDifference } from "./bits.mjs";

/**
 * Runs one plan in every circumstance.
 *
 * @param runs from `variants`: the first is what the others are compared with
 * @returns by circumstance: where it differs, null: nowhere
 */
export async function compareRuns(firesteel, plan, steps, runs, folder, onRun = () => {}) {
  const differences = {};
  let expected = null;
  for (const [i, [name, run]] of Object.entries(runs).entries()) {
    onRun(name);
    const out = join(folder, `${plan}-${i}`);
    await run(firesteel, plan, out);
    const bits = bitsOf(out, steps);
    expected ??= bits;
    differences[name] = firstDifference(expected, bits);
  }
  return differences;
}
