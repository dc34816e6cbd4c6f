import type { Expression } from "./expression.js";
import { NotMath, type Token } from "./lex.js";
import { functions, greek, inverted, products } from "./names.js";
import { add, divide, integer, isLess, one, type Rational } from "./rational.js";
import { TokenReader } from "./tokenReader.js";

/** Recursive descent over the tokens of one formula. Linear in their number. */
export class ExpressionParser extends TokenReader {
  #bars = 0;

  expression(): Expression {
    return this.nested(() => {
      let left = this.#signed(() => this.#term());
      for (;;) {
        if (this.accept("+")) left = { kind: "add", left, right: this.#term() };
        else if (this.accept("-")) {
          left = { kind: "add", left, right: { kind: "negate", of: this.#term() } };
        } else if (this.isCommand("pm") || this.isCommand("mp")) {
          left = { kind: "add", left, right: this.#signed(() => this.#term()) };
        } else return left;
      }
    });
  }

  #signed(read: () => Expression): Expression {
    if (this.accept("+")) return read();
    if (this.accept("-")) return { kind: "negate", of: this.nested(() => this.#signed(read)) };
    for (const [name, kind] of [
      ["pm", "plusMinus"],
      ["mp", "minusPlus"],
    ] as const) {
      if (!this.isCommand(name)) continue;
      this.at += 1;
      return { kind, of: read() };
    }
    return read();
  }

  /** Factors; what a slash divides by may not go on without a sign: 1/2x has two readings. */
  #term(): Expression {
    let left = this.#factor();
    let divided = false;
    for (;;) {
      const token = this.next;
      const product = this.isSign("*") || (token?.kind === "command" && products.has(token.text));
      if (product) {
        this.at += 1;
        left = { kind: "multiply", left, right: this.#signed(() => this.#factor()) };
        divided = false;
      } else if (this.isSign("/") || this.isCommand("div")) {
        this.at += 1;
        left = { kind: "divide", left, right: this.#signed(() => this.#factor()) };
        divided = true;
      } else if (this.#beginsFactor()) {
        if (divided) throw new NotMath("a quotient that goes on without a sign");
        left = { kind: "multiply", left, right: this.#factor() };
      } else return left;
    }
  }

  /** Whether a factor follows that needs no sign before it. A number does. */
  #beginsFactor(): boolean {
    const token = this.next;
    if (token === undefined || token.kind === "number" || token.kind === "words") return false;
    if (token.kind === "letter") return true;
    if (token.kind === "command") return this.#isPrimaryCommand(token.text);
    return token.text === "(" || token.text === "{" || (token.text === "|" && this.#bars === 0);
  }

  #isPrimaryCommand(name: string): boolean {
    return (
      greek.has(name) ||
      functions.has(name) ||
      ["frac", "sqrt", "pi", "infty", "binom", "lfloor", "lceil"].includes(name)
    );
  }

  #factor(): Expression {
    let base = this.#primary();
    for (;;) {
      if (this.accept("!")) base = { kind: "factorial", of: base };
      else if (this.accept("%")) {
        base = { kind: "divide", left: base, right: numberOf(integer(100)) };
      } else if (this.isCommand("degree")) {
        this.at += 1;
        const angle: Expression = {
          kind: "divide",
          left: { kind: "constant", name: "pi" },
          right: numberOf(integer(180)),
        };
        base = { kind: "multiply", left: base, right: angle };
      } else if (this.accept("^")) {
        base = { kind: "power", left: base, right: this.nested(() => this.#exponent()) };
      } else return base;
    }
  }

  #exponent(): Expression {
    if (this.accept("-")) return { kind: "negate", of: this.#exponent() };
    const base = this.#primary();
    if (!this.accept("^")) return base;
    return { kind: "power", left: base, right: this.nested(() => this.#exponent()) };
  }

  #primary(): Expression {
    const token = this.next;
    if (token === undefined) throw new NotMath("ends too early");
    this.at += 1;
    switch (token.kind) {
      case "number":
        // Digits with a base are another number, which is not converted.
        if (this.isSign("_")) return { kind: "symbol", name: token.text + this.#subscript() };
        return this.#mixed(token.text, token.value);
      case "letter":
        return this.#letter(token.text);
      case "command":
        return this.#command(token.text);
      case "sign":
        if (token.text === "(") return this.#enclosed(")");
        if (token.text === "{") return this.#enclosed("}");
        if (token.text === "|") return this.#absolute();
    }
    throw new NotMath(`unexpected ${token.text}`);
  }

  #enclosed(close: string): Expression {
    const inner = this.#withBars(0, () => this.expression());
    this.expect(close);
    return inner;
  }

  #absolute(): Expression {
    const of = [this.#withBars(1, () => this.expression())];
    this.expect("|");
    return { kind: "call", name: "abs", of };
  }

  /** Within bars, a bar closes; within brackets it opens again. */
  #withBars<T>(bars: number, read: () => T): T {
    const outer = this.#bars;
    this.#bars = bars;
    try {
      return read();
    } finally {
      this.#bars = outer;
    }
  }

  /** A number, with the proper fraction that may follow it: 1 1/2, 1\frac{1}{2}. */
  #mixed(text: string, value: Rational): Expression {
    const begin = this.at;
    const part = /^\d+$/.test(text) ? this.#fractionPart() : null;
    if (part !== null) {
      if (!isLess(part, one)) throw new NotMath("an improper fraction in a mixed number");
      return numberOf(add(value, part));
    }
    this.at = begin;
    return numberOf(value);
  }

  #fractionPart(): Rational | null {
    const whole = (token: Token | undefined) =>
      token?.kind === "number" && /^\d+$/.test(token.text) ? token.value : null;
    if (this.isCommand("frac")) {
      this.at += 1;
      const read = () => {
        const braced = this.accept("{");
        if (!braced) this.splitDigits();
        const value = whole(this.next);
        this.at += 1;
        return braced && !this.accept("}") ? null : value;
      };
      const [n, d] = [read(), read()];
      return n === null || d === null ? null : divide(n, d);
    }
    const [n, slash, d] = this.tokens.slice(this.at, this.at + 3);
    if (n?.spaced !== true || slash?.text !== "/") return null;
    this.at += 3;
    const [above, below] = [whole(n), whole(d)];
    return above === null || below === null ? null : divide(above, below);
  }

  #letter(name: string): Expression {
    // f(x) is a value of f, which nothing is known about.
    if (/[fgh]/.test(name) && this.isSign("(")) throw new NotMath(`${name} of something`);
    const suffix = this.#subscript();
    if (name === "e" && suffix === "") return { kind: "constant", name: "e" };
    return { kind: "symbol", name: name + suffix };
  }

  #subscript(): string {
    if (!this.accept("_")) return "";
    const tokens: string[] = [];
    if (this.accept("{")) {
      while (!this.accept("}")) tokens.push(this.take().text);
    } else {
      this.splitDigits();
      tokens.push(this.take().text);
    }
    return `_${tokens.join(" ")}`;
  }

  #command(name: string): Expression {
    if (name === "pi") return { kind: "constant", name: "pi" };
    if (name === "infty") return { kind: "infinity" };
    if (greek.has(name)) return { kind: "symbol", name: name + this.#subscript() };
    if (name === "frac") {
      const left = this.#argument();
      return { kind: "divide", left, right: this.#argument() };
    }
    if (name === "binom") return { kind: "call", name, of: [this.#argument(), this.#argument()] };
    if (name === "sqrt") return this.#root();
    if (name === "lfloor" || name === "lceil") {
      const of = [this.expression()];
      if (!this.isCommand(name.replace("l", "r"))) throw new NotMath("a floor without an end");
      this.at += 1;
      return { kind: "call", name: name.slice(1), of };
    }
    if (functions.has(name)) return this.#call(name);
    throw new NotMath(`unknown command ${name}`);
  }

  #root(): Expression {
    let degree = numberOf(integer(2));
    if (this.accept("[")) {
      degree = this.expression();
      this.expect("]");
    }
    const of = this.isSign("(") ? this.#primary() : this.#argument();
    return { kind: "call", name: "root", of: [of, degree] };
  }

  /** What a command takes: braces, one digit, or one symbol. */
  #argument(): Expression {
    this.splitDigits();
    return this.nested(() => this.#primaryAlone());
  }

  #primaryAlone(): Expression {
    const token = this.next;
    if (token?.kind !== "number") return this.#primary();
    this.at += 1;
    return numberOf(token.value);
  }

  #call(name: string): Expression {
    let power: Expression | null = null;
    let base: Expression | null = null;
    for (;;) {
      if (power === null && this.accept("^")) {
        power = this.isSign("{") ? this.#primary() : this.#exponent();
      } else if (name === "log" && base === null && this.accept("_")) base = this.#argument();
      else break;
    }
    const [named, outer] = inverted(name, power);
    const of: Expression[] = [this.nested(() => this.#operand())];
    if (base !== null) of.push(base);
    const call: Expression = { kind: "call", name: named, of };
    return outer === null ? call : { kind: "power", left: call, right: outer };
  }

  /** What a function without brackets takes: factors up to the next sign or function. */
  #operand(): Expression {
    if (this.isSign("(") || this.isSign("{")) {
      const inner = this.#primary();
      // sin(x)^2 has two readings.
      if (this.isSign("^")) throw new NotMath("a power of a call");
      return inner;
    }
    let left = this.#factor();
    while (this.#beginsFactor()) {
      const token = this.next!;
      if (token.kind === "command" && functions.has(token.text)) break;
      if (this.isSign("(")) break;
      left = { kind: "multiply", left, right: this.#factor() };
    }
    return left;
  }
}

function numberOf(value: Rational): Expression {
  return { kind: "number", value };
}
