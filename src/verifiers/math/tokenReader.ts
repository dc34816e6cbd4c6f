import { NotMath, type Token } from "./lex.js";
import { decimal } from "./rational.js";

/** Deepest nesting that is read. */
const MAX_DEPTH = 40;

/** Reads tokens one after the other, with a look ahead. What is not there throws NotMath. */
export class TokenReader {
  protected at = 0;
  protected tokens: Token[];
  #depth = 0;

  constructor(tokens: readonly Token[]) {
    this.tokens = [...tokens];
  }

  protected get next(): Token | undefined {
    return this.tokens[this.at];
  }

  protected isSign(text: string, ahead = 0): boolean {
    const token = this.tokens[this.at + ahead];
    return token?.kind === "sign" && token.text === text;
  }

  protected isCommand(text: string): boolean {
    return this.next?.kind === "command" && this.next.text === text;
  }

  protected accept(text: string): boolean {
    if (!this.isSign(text)) return false;
    this.at += 1;
    return true;
  }

  protected expect(text: string): void {
    if (!this.accept(text)) throw new NotMath(`expected ${text}`);
  }

  protected nested<T>(read: () => T): T {
    if (this.#depth >= MAX_DEPTH) throw new NotMath("nested too deeply");
    this.#depth += 1;
    try {
      return read();
    } finally {
      this.#depth -= 1;
    }
  }

  protected take(): Token {
    const token = this.next;
    if (token === undefined) throw new NotMath("ends too early");
    this.at += 1;
    return token;
  }

  /** LaTeX reads one digit where braces are missing: \frac12 is 1/2. */
  protected splitDigits(): void {
    const token = this.next;
    if (token?.kind !== "number" || !/^\d\d+$/.test(token.text)) return;
    const halves = [token.text.slice(0, 1), token.text.slice(1)].map(
      (text): Token => ({ kind: "number", value: decimal(text)!, text, spaced: false }),
    );
    this.tokens.splice(this.at, 1, ...halves);
  }
}
