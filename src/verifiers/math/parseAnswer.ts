import type { Answer, Expression } from "./expression.js";
import { isTwofold } from "./expression.js";
import { NotMath, tokenize } from "./lex.js";
import { ExpressionParser } from "./parse.js";
import { splitUnit } from "./units.js";

/** Relations by sign or command. */
const relations = new Map(
  Object.entries({
    "=": "=",
    "<": "<",
    ">": ">",
    le: "<=",
    lt: "<",
    ge: ">=",
    gt: ">",
    ne: "!=",
    in: "in",
  }),
);

/** Values in one answer at most. */
const MAX_ITEMS = 24;

/** @throws NotMath where the cleaned text is no formula in the language of this verifier */
export function parseAnswer(cleaned: string): Answer {
  // f(x) = ... gives its value to f.
  const [text, unit] = splitUnit(cleaned.replace(/^([a-zA-Z])\s*\([a-z]\)\s*=/, "$1 ="));
  const answer = new AnswerParser(tokenize(text)).whole();
  if (unit === null) return answer;
  if (answer.kind !== "expression") throw new NotMath("a unit after no number");
  return { ...answer, unit };
}

class AnswerParser extends ExpressionParser {
  whole(): Answer {
    const answer = this.#listed();
    if (this.next !== undefined) throw new NotMath(`unexpected ${this.next.text}`);
    return answer;
  }

  #listed(): Answer {
    const items = [this.#relation()];
    while (this.#separator()) items.push(this.#relation());
    const all = items.flatMap(bothSigns);
    if (all.length > MAX_ITEMS) throw new NotMath("too many values");
    return all.length === 1 ? all[0]! : { kind: "list", of: all };
  }

  #separator(): boolean {
    const begin = this.at;
    if (!this.accept(",")) this.accept(";");
    const token = this.next;
    if (token?.kind === "words" && /^(and|or)$/.test(token.text)) this.at += 1;
    return this.at > begin;
  }

  #relation(): Answer {
    const sides = [this.#union()];
    const signs: string[] = [];
    for (;;) {
      const token = this.next;
      const sign =
        token?.kind === "sign" || token?.kind === "command" ? relations.get(token.text) : undefined;
      if (sign === undefined) break;
      this.at += 1;
      signs.push(sign);
      sides.push(this.#union());
    }
    return signs.length === 0 ? sides[0]! : { kind: "relation", sides, signs };
  }

  #union(): Answer {
    const parts = [this.#ratio()];
    while (this.isCommand("cup")) {
      this.at += 1;
      parts.push(this.#ratio());
    }
    return parts.length === 1 ? parts[0]! : { kind: "union", of: parts };
  }

  #ratio(): Answer {
    const parts = [this.#value()];
    while (this.accept(":")) parts.push(this.#value());
    return parts.length === 1 ? parts[0]! : { kind: "ratio", of: parts };
  }

  #value(): Answer {
    if (this.isCommand("emptyset")) {
      this.at += 1;
      return { kind: "set", of: [] };
    }
    const token = this.next;
    if (token?.kind === "command" && token.text.startsWith("begin ")) {
      this.at += 1;
      return this.#matrix(token.text.slice("begin ".length));
    }
    if (this.accept("\\{")) return { kind: "set", of: this.#items("\\}") };
    if (this.isSign("(") || this.isSign("[")) return this.#bracketed();
    return { kind: "expression", of: this.expression(), unit: null };
  }

  /** A formula that begins with a bracket, or else what stands in brackets. */
  #bracketed(): Answer {
    const begin = this.at;
    const kept = [...this.tokens];
    if (this.isSign("(")) {
      try {
        return { kind: "expression", of: this.expression(), unit: null };
      } catch (error) {
        if (!(error instanceof NotMath)) throw error;
      }
      this.at = begin;
      this.tokens = kept;
    }
    return this.nested(() => {
      const open = this.accept("(") ? "(" : "[";
      if (open === "[") this.expect("[");
      const of = this.#items(")", "]");
      const close = this.tokens[this.at - 1]!.text as ")" | "]";
      return { kind: "bracket", open, close, of };
    });
  }

  /** Up to and with one of the closing signs. */
  #items(...closing: readonly string[]): Answer[] {
    const items: Answer[] = [];
    if (closing.some((sign) => this.accept(sign))) return items;
    for (;;) {
      items.push(this.#union());
      if (items.length > MAX_ITEMS) throw new NotMath("too many values");
      if (closing.some((sign) => this.accept(sign))) return items.flatMap(bothSigns);
      if (!this.accept(",")) this.expect(";");
    }
  }

  #matrix(environment: string): Answer {
    if (!/^[pbBvV]?matrix\*?$/.test(environment)) throw new NotMath(environment);
    const rows: Answer[][] = [[]];
    for (;;) {
      rows.at(-1)!.push(this.#union());
      if (rows.length * rows[0]!.length > 4 * MAX_ITEMS) throw new NotMath("too many values");
      if (this.accept("&")) continue;
      const more = this.accept("\\\\");
      if (this.isCommand(`end ${environment}`)) {
        this.at += 1;
        return { kind: "matrix", rows };
      }
      if (!more) throw new NotMath("a matrix without an end");
      rows.push([]);
    }
  }
}

/** A value with a sign of two meanings is two values. */
function bothSigns(answer: Answer): Answer[] {
  const sides = answer.kind === "relation" ? answer.sides : [answer];
  const twofold = sides.filter((side) => side.kind === "expression" && isTwofold(side.of));
  if (twofold.length === 0) return [answer];
  return [true, false].map((upper): Answer => {
    const choose = (side: Answer): Answer =>
      side.kind === "expression" ? { ...side, of: withSign(side.of, upper) } : side;
    return answer.kind === "relation"
      ? { ...answer, sides: answer.sides.map(choose) }
      : choose(answer);
  });
}

function withSign(expression: Expression, upper: boolean): Expression {
  switch (expression.kind) {
    case "plusMinus":
    case "minusPlus": {
      const of = withSign(expression.of, upper);
      return (expression.kind === "plusMinus") === upper ? of : { kind: "negate", of };
    }
    case "negate":
    case "factorial":
      return { ...expression, of: withSign(expression.of, upper) };
    case "call":
      return { ...expression, of: expression.of.map((part) => withSign(part, upper)) };
    case "add":
    case "multiply":
    case "divide":
    case "power":
      return {
        ...expression,
        left: withSign(expression.left, upper),
        right: withSign(expression.right, upper),
      };
    default:
      return expression;
  }
}
