import type { PolicyRow } from "../../contract/index.js";
import { checkInteger, invalid } from "../../engine/checks.js";
import type { TokenConfig } from "./config.js";

/** Rows laid out one after the other. T packed tokens, A actions, R rows. */
export interface PackedRows {
  /** [T]: prompts and completions, each without its last token: nothing is predicted from that. */
  readonly ids: Int32Array;
  /** [T]: position in the row. */
  readonly positions: Int32Array;
  /** [R + 1]: packed tokens of a row. */
  readonly tokenOffsets: Int32Array;
  /** [R + 1]: actions of a row. */
  readonly actionOffsets: Int32Array;
  /** [A]: the packed token that precedes an action. */
  readonly before: Int32Array;
  /** [A]: the actions. */
  readonly targets: Int32Array;
  /** [A], or null where every action counts. */
  readonly mask: Uint8Array | null;
}

/**
 * Packs rows for scoring. A row without actions takes no tokens.
 *
 * @throws FiresteelError ERR_OPTION (actions that are not tokens), ERR_SHAPE, ERR_RANGE
 */
export function packRows(rows: readonly PolicyRow[], config: TokenConfig): PackedRows {
  const { tokenOffsets, actionOffsets } = measure(rows, config);
  const tokens = tokenOffsets.at(-1)!;
  const actions = actionOffsets.at(-1)!;
  const ids = new Int32Array(tokens);
  const positions = new Int32Array(tokens);
  const before = new Int32Array(actions);
  const targets = new Int32Array(actions);
  const masked = rows.some(({ mask }) => mask !== undefined && hasZero(mask));
  const mask = masked ? new Uint8Array(actions).fill(1) : null;
  // Element by element: rows are short, and a view of each would cost more than its copy.
  for (let r = 0; r < rows.length; ++r) {
    const row = rows[r]!;
    const begin = tokenOffsets[r]!;
    const length = tokenOffsets[r + 1]! - begin;
    if (length === 0) continue;
    const prompt = row.prompt.tokens;
    const completion = tokenIds(row, r);
    const answer = begin + prompt.length;
    for (let i = 0; i < prompt.length; ++i) ids[begin + i] = prompt[i]!;
    for (let i = 0; i + 1 < completion.length; ++i) ids[answer + i] = completion[i]!;
    for (let i = 0; i < length; ++i) positions[begin + i] = i;
    const first = actionOffsets[r]!;
    for (let i = 0; i < completion.length; ++i) {
      targets[first + i] = completion[i]!;
      before[first + i] = answer - 1 + i;
    }
    if (mask === null || row.mask === undefined) continue;
    for (let i = 0; i < completion.length; ++i) mask[first + i] = row.mask[i]!;
  }
  checkIds("ids", ids, config.vocabSize);
  checkIds("actions", targets, config.vocabSize);
  return { ids, positions, tokenOffsets, actionOffsets, before, targets, mask };
}

/** Not by `includes`, which throws on memory that a getter has transferred. */
function hasZero(mask: ArrayLike<number>): boolean {
  for (let i = 0; i < mask.length; ++i) if (mask[i] === 0) return true;
  return false;
}

function measure(rows: readonly PolicyRow[], config: TokenConfig) {
  const tokenOffsets = new Int32Array(rows.length + 1);
  const actionOffsets = new Int32Array(rows.length + 1);
  for (let r = 0; r < rows.length; ++r) {
    const row = rows[r]!;
    const prompt = row.prompt.tokens.length;
    const actions = tokenIds(row, r).length;
    if (prompt === 0 || prompt + actions > config.maxLength) {
      checkPrompt(`rows[${r}].prompt`, row.prompt.tokens, config);
      checkInteger(`length of rows[${r}]`, prompt + actions, 1, config.maxLength);
    }
    if (row.mask !== undefined && row.mask.length !== actions) {
      throw invalid("ERR_SHAPE", `rows[${r}].mask`, `one value per action (${actions})`, row.mask);
    }
    tokenOffsets[r + 1] = tokenOffsets[r]! + (actions === 0 ? 0 : prompt + actions - 1);
    actionOffsets[r + 1] = actionOffsets[r]! + actions;
  }
  return { tokenOffsets, actionOffsets };
}

function tokenIds({ actions }: PolicyRow, r: number): Int32Array {
  if (actions.kind !== "tokens") {
    throw invalid("ERR_OPTION", `rows[${r}].actions`, "tokens", actions.kind);
  }
  return actions.ids;
}

/** A prompt needs a token for the first action to follow. */
export function checkPrompt(name: string, tokens: Int32Array, { maxLength }: TokenConfig): void {
  checkInteger(`length of ${name}`, tokens.length, 1, maxLength);
}

export function checkIds(name: string, ids: Int32Array, vocabSize: number): void {
  for (let i = 0; i < ids.length; ++i) {
    const id = ids[i]!;
    if (id < 0 || id >= vocabSize) checkInteger(`${name}[${i}]`, id, 0, vocabSize - 1);
  }
}
