import type { RowFilter } from "../../contract/system.js";
import { parseOptions } from "../../options/parseOptions.js";
import { mapRows } from "../columns.js";

/**
 * Rollouts that ran into the length limit are not trained: their mask becomes 0, after they counted in
 * their group's statistics (TRL's mask_truncated_completions; DAPO, Yu et al. 2025, section 3.4).
 */
export function maskTruncated(options: Record<string, never> = {}): RowFilter {
  const { described } = parseOptions("maskTruncated", {}, options);
  return {
    block: "maskTruncated",
    options: described,
    run: (groups) =>
      mapRows(groups, (t) =>
        t.finish === "length" ? { ...t, mask: new Uint8Array(t.mask.length) } : t,
      ),
  };
}
