/**
 * What was made of the options of the last call. Calls in a loop repeat theirs, and to check them takes
 * longer than a small batch does. Options are compared value by value; objects among them, which could
 * have changed inside, make a call a new one.
 */
export class Recent<Made> {
  /** Keys that are the call's data and not its options. */
  readonly #data: readonly string[];
  #options: Readonly<Record<string, unknown>> = {};
  #count = -1;
  #context = 0;
  #made: Made | null = null;

  constructor(data: readonly string[]) {
    this.#data = data;
  }

  /**
   * @param context what else the result depends on
   * @param make is given a copy of the options, without the data
   */
  of<Options extends object>(
    options: Options,
    context: number,
    make: (options: Options) => Made,
  ): Made {
    if (this.#context === context && this.#repeats(options)) return this.#made!;
    const own = Object.fromEntries(
      Object.entries(options).filter(([name]) => !this.#data.includes(name)),
    );
    const made = make(own as Options); // where it throws, the last is kept
    const values = Object.values(own);
    if (values.some((value) => typeof value === "object" || typeof value === "function")) {
      return made;
    }
    this.#options = own;
    this.#count = values.length;
    this.#context = context;
    this.#made = made;
    return made;
  }

  #repeats(options: object): boolean {
    const last = this.#options;
    let count = 0;
    for (const name in options) {
      const value = (options as Record<string, unknown>)[name];
      if (value === last[name] && Object.hasOwn(last, name)) ++count;
      else if (!this.#data.includes(name)) return false;
    }
    return count === this.#count;
  }
}
