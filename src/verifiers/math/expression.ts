import type { Rational } from "./rational.js";

/** A formula that stands for a number. */
export type Expression =
  | { kind: "number"; value: Rational }
  | { kind: "symbol"; name: string }
  | { kind: "constant"; name: "pi" | "e" }
  | { kind: "infinity" }
  | { kind: "negate" | "factorial" | "plusMinus" | "minusPlus"; of: Expression }
  | { kind: "add" | "multiply" | "divide" | "power"; left: Expression; right: Expression }
  | { kind: "call"; name: string; of: readonly Expression[] };

/** What an answer says. */
export type Answer =
  | { kind: "expression"; of: Expression; unit: string | null }
  /** In brackets, ordered: tuples and intervals. */
  | { kind: "bracket"; open: "(" | "["; close: ")" | "]"; of: readonly Answer[] }
  /** Without order: sets in braces, or values that are merely listed. */
  | { kind: "set" | "list" | "union"; of: readonly Answer[] }
  | { kind: "ratio"; of: readonly Answer[] }
  | { kind: "matrix"; rows: readonly (readonly Answer[])[] }
  /** sides[0] signs[0] sides[1] ... */
  | { kind: "relation"; sides: readonly Answer[]; signs: readonly string[] };

/** The expressions that an expression is made of. */
export function partsOf(expression: Expression): readonly Expression[] {
  switch (expression.kind) {
    case "number":
    case "symbol":
    case "constant":
    case "infinity":
      return [];
    case "call":
      return expression.of;
    case "negate":
    case "factorial":
    case "plusMinus":
    case "minusPlus":
      return [expression.of];
    default:
      return [expression.left, expression.right];
  }
}

/** The names of all symbols. */
export function symbolsOf(expression: Expression, into = new Set<string>()): Set<string> {
  if (expression.kind === "symbol") into.add(expression.name);
  for (const part of partsOf(expression)) symbolsOf(part, into);
  return into;
}

/** Whether a sign of two meanings stands in it. */
export function isTwofold(expression: Expression): boolean {
  if (expression.kind === "plusMinus" || expression.kind === "minusPlus") return true;
  return partsOf(expression).some(isTwofold);
}
