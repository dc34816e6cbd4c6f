import { sameEquation, sameExpression } from "./compareExpressions.js";
import type { Budget } from "./evaluate.js";
import type { Answer, Expression } from "./expression.js";

type Relation = Extract<Answer, { kind: "relation" }>;

/** Whether two answers say the same. */
export function sameAnswer(a: Answer, b: Answer, budget: Budget): boolean {
  const same = (x: Answer, y: Answer) => sameAnswer(x, y, budget);
  if (a.kind === "relation" || b.kind === "relation") return sameRelation(a, b, budget);
  if (a.kind === "list" && b.kind === "list") return sameList(a.of, b.of, budget);
  if ((a.kind === "set" || a.kind === "list") && (b.kind === "set" || b.kind === "list")) {
    // {1} is not 1: a list has two values or more.
    return unordered(a.of, b.of, same);
  }
  if (a.kind === "expression" && b.kind === "expression") {
    const units = a.unit === null || b.unit === null || a.unit === b.unit;
    return units && sameExpression(a.of, b.of, budget);
  }
  if (a.kind === "bracket" && b.kind === "bracket") {
    return a.open === b.open && a.close === b.close && ordered(a.of, b.of, same);
  }
  if (a.kind === "union" && b.kind === "union") return unordered(a.of, b.of, same);
  if (a.kind === "ratio" && b.kind === "ratio") return ordered(a.of, b.of, same);
  if (a.kind === "matrix" && b.kind === "matrix") {
    return ordered(a.rows, b.rows, (x, y) => ordered(x, y, same));
  }
  return false;
}

function ordered<T>(a: readonly T[], b: readonly T[], same: (x: T, y: T) => boolean): boolean {
  return a.length === b.length && a.every((item, i) => same(item, b[i]!));
}

/** Each of one side has a partner of its own on the other. */
function unordered<T>(a: readonly T[], b: readonly T[], same: (x: T, y: T) => boolean): boolean {
  if (a.length !== b.length) return false;
  const left = [...b];
  return a.every((item) => {
    const partner = left.findIndex((other) => same(item, other));
    if (partner !== -1) left.splice(partner, 1);
    return partner !== -1;
  });
}

/** Values for several symbols (x = 1, y = 2) are no list of bare values. */
function sameList(a: readonly Answer[], b: readonly Answer[], budget: Budget): boolean {
  const several = (items: readonly Answer[]) =>
    new Set(items.map(assignedTo).filter((name) => name !== null)).size > 1;
  if (several(a) !== several(b)) return false;
  return unordered(a, b, (x, y) => sameAnswer(x, y, budget));
}

function sameRelation(a: Answer, b: Answer, budget: Budget): boolean {
  const same = (x: Answer, y: Answer) => sameAnswer(x, y, budget);
  const [p, q] = [assignedTo(a), assignedTo(b)];
  if (p !== null && p === q) return ordered(valuesOf(a), valuesOf(b), same);
  // "x = 3" and "3"; "x = 6/4 = 3/2" and "3/2". Both sides of an equation without a symbol are values
  // too.
  const [one, other] = a.kind === "relation" ? [a, b] : [b as Relation, a];
  if (other.kind !== "relation") {
    const asInterval = interval(one);
    if (asInterval !== null && other.kind === "bracket") return same(asInterval, other);
    const values = valuesOf(one);
    return values.length > 0 && values.every((value) => same(value, other));
  }
  if (one.signs.length === 1 && one.signs[0] === "=" && other.signs.join() === "=") {
    const [first, second] = [formulas(one), formulas(other)];
    if (first !== null && second !== null) return sameEquation(first, second, budget);
  }
  const [s, t] = [ascending(one), ascending(other)];
  return ordered(s.signs, t.signs, Object.is) && ordered(s.sides, t.sides, same);
}

/** The symbols that an equation gives values to: a name, f(x), or a tuple of names; null where none. */
function assignedTo(answer: Answer): string | null {
  if (answer.kind !== "relation") return null;
  const all = answer.signs.every((sign) => sign === "=") || answer.signs.join() === "in";
  return all ? nameOf(answer.sides[0]!) : null;
}

function nameOf(side: Answer): string | null {
  if (side.kind === "expression") return side.of.kind === "symbol" ? side.of.name : null;
  if (side.kind !== "bracket") return null;
  const names = side.of.map(nameOf);
  return names.includes(null) ? null : `(${names.join()})`;
}

/**
 * What an equation says is equal, without the symbol that it is given to; nothing for other
 * relations.
 */
function valuesOf(answer: Answer): readonly Answer[] {
  if (answer.kind !== "relation") return [];
  if (assignedTo(answer) !== null) return answer.sides.slice(1);
  return answer.signs.every((sign) => sign === "=") ? answer.sides : [];
}

function formulas({ sides }: Relation): [Expression, Expression] | null {
  const [a, b] = sides;
  return a?.kind === "expression" && b?.kind === "expression" ? [a.of, b.of] : null;
}

const turned: Readonly<Record<string, string>> = { ">": "<", ">=": "<=" };

/** The same relation with its smaller sides first, where all signs point the same way. */
function ascending({ sides, signs }: Relation): Pick<Relation, "sides" | "signs"> {
  if (!signs.every((sign) => sign in turned)) return { sides, signs };
  return {
    sides: [...sides].reverse(),
    signs: [...signs].reverse().map((sign) => turned[sign]!),
  };
}

/** a < x <= b as (a, b]; one open end is infinite. Null where it says something else. */
function interval(relation: Relation): Answer | null {
  const { sides, signs } = ascending(relation);
  if (!signs.every((sign) => sign === "<" || sign === "<=")) return null;
  const [first, second, third] = sides;
  const infinite: Expression = { kind: "infinity" };
  const expression = (of: Expression): Answer => ({ kind: "expression", of, unit: null });
  const at = sides.findIndex((side) => nameOf(side) !== null && side.kind === "expression");
  if (sides.length === 3 && at === 1) {
    const [open, close] = [signs[0] === "<" ? "(" : "[", signs[1] === "<" ? ")" : "]"] as const;
    return { kind: "bracket", open, close, of: [first!, third!] };
  }
  if (sides.length !== 2 || at === -1) return null;
  if (at === 0) {
    const low = expression({ kind: "negate", of: infinite });
    return { kind: "bracket", open: "(", close: signs[0] === "<" ? ")" : "]", of: [low, second!] };
  }
  const open = signs[0] === "<" ? "(" : "[";
  return { kind: "bracket", open, close: ")", of: [first!, expression(infinite)] };
}
