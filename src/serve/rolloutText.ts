import type { Tokenizer } from "../contract/data.js";

/** The replacement character, with which decoders show a character whose last bytes are still to come. */
const unfinished = "�";

/** The text of a completion as it grows, up to the first stop text. */
export class RolloutText {
  readonly #tokenizer: Tokenizer;
  readonly #stops: readonly string[];
  readonly #ids: number[] = [];
  /** Ids from here on are decoded again, those before `#read` only as context of the next. */
  #context = 0;
  #read = 0;
  #text = "";
  #emitted = 0;
  #stopped = false;

  constructor(tokenizer: Tokenizer, stops: readonly string[]) {
    this.#tokenizer = tokenizer;
    this.#stops = stops;
  }

  /** So far, without the stop text. */
  get text(): string {
    return this.#text;
  }

  /** @returns whether a stop text has come */
  push(token: number): boolean {
    this.#ids.push(token);
    this.#decode(false);
    return this.#stopped;
  }

  /** Text that is certain and was not taken before; what may be the beginning of a stop text is not. */
  take(): string {
    return this.#emit(this.#stopped ? this.#text.length : this.#text.length - this.#doubtful());
  }

  /** The rest, once no more tokens come. */
  takeAll(): string {
    if (!this.#stopped) this.#decode(true);
    return this.#emit(this.#text.length);
  }

  #emit(end: number): string {
    const text = this.#text.slice(this.#emitted, Math.max(this.#emitted, end));
    this.#emitted += text.length;
    return text;
  }

  #decode(last: boolean): void {
    const ids = Int32Array.from(this.#ids.slice(this.#context));
    const before = this.#tokenizer.decode(ids.subarray(0, this.#read - this.#context));
    const whole = this.#tokenizer.decode(ids);
    if (whole.endsWith(unfinished) && !last) return;
    this.#context = this.#read;
    this.#read = this.#ids.length;
    // A stop text may have begun in what was there.
    const longest = Math.max(0, ...this.#stops.map((stop) => stop.length - 1));
    const from = Math.max(0, this.#text.length - longest);
    this.#text += whole.slice(before.length);
    const found = this.#stops.map((stop) => this.#text.indexOf(stop, from)).filter((at) => at >= 0);
    if (found.length === 0) return;
    this.#text = this.#text.slice(0, Math.min(...found));
    this.#stopped = true;
  }

  /** Length of the longest end of the text with which a stop text begins. */
  #doubtful(): number {
    const begins = (stop: string) => {
      for (let length = Math.min(stop.length - 1, this.#text.length); length > 0; --length) {
        if (this.#text.endsWith(stop.slice(0, length))) return length;
      }
      return 0;
    };
    return Math.max(0, ...this.#stops.map(begins));
  }
}
