import type { RowFilter } from "../../contract/system.js";
import { parseOptions } from "../../options/parseOptions.js";

/**
 * Nothing of the phase is trained: its rollouts are sampled and rewarded for what observers make of
 * them.
 */
export function lookOnly(options: Record<string, never> = {}): RowFilter {
  const { described } = parseOptions("lookOnly", {}, options);
  return { block: "lookOnly", options: described, run: () => [] };
}
