import { invalid } from "./checks.js";

/**
 * Rows with equal keys as groups, numbered by where their key first appears; order within a key kept.
 *
 * @param keys one a row
 * @returns offsets [G + 1] into index [rows], which holds the rows group by group
 * @throws FiresteelError ERR_OPTION, ERR_SHAPE
 */
export function groupByKey(
  keys: unknown,
  rows: number,
): { offsets: Int32Array; index: Int32Array } {
  if (!Array.isArray(keys)) throw invalid("ERR_OPTION", "keys", "an array", keys);
  if (keys.length !== rows) throw invalid("ERR_SHAPE", "keys", `${rows} keys`, keys);
  const groups = new Map<unknown, number[]>();
  for (let row = 0; row < rows; ++row) {
    const key: unknown = keys[row];
    if (typeof key !== "string" && typeof key !== "number") {
      throw invalid("ERR_OPTION", `keys[${row}]`, "a string or a number", key);
    }
    const members = groups.get(key);
    if (members === undefined) groups.set(key, [row]);
    else members.push(row);
  }
  const offsets = new Int32Array(groups.size + 1);
  const index = new Int32Array(rows);
  let at = 0;
  let group = 0;
  for (const members of groups.values()) {
    index.set(members, at);
    at += members.length;
    offsets[++group] = at;
  }
  return { offsets, index };
}
