// Golden cases by name: each adapter renames and reshapes its arguments and calls what users call.
import { advantages } from "./adapters/advantages.mjs";
import { divergences } from "./adapters/divergences.mjs";
import { flows } from "./adapters/flows.mjs";
import { groupLosses } from "./adapters/groupLosses.mjs";
import { losses } from "./adapters/losses.mjs";
import { spark } from "./adapters/spark.mjs";
import { statistics } from "./adapters/statistics.mjs";
import { weights } from "./adapters/weights.mjs";

/**
 * @param engine an Engine on any device
 * @param firesteel the package's own exports
 * @param blocks the exports of firesteel/blocks
 * @returns by name of the case: (args) => result, or a promise of it
 */
export function makeAdapters(engine, firesteel, blocks) {
  const families = [
    ...[advantages, losses, groupLosses, divergences, flows, spark],
    ...[statistics, weights],
  ];
  return Object.assign({}, ...families.map((family) => family(engine, firesteel, blocks)));
}
