import type { StepReport, WarmStartReport } from "../contract/run.js";
import type { Terminal } from "./terminal.js";

/** 12.3%, or a dash where there is nothing to show. */
export function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? "-" : `${(100 * value).toFixed(1)}%`;
}

/** 12,345, or a dash. */
export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? "-" : Math.round(value).toLocaleString("en-US");
}

/** One line that is drawn over and over; nothing at all where nobody looks on. */
export class ProgressLine {
  readonly #terminal: Terminal;
  readonly #begun = performance.now();
  #accuracy: number | null = null;
  #drawn = 0;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  warmStart({ step, steps, stage, loss }: WarmStartReport): void {
    this.#draw("warm start", step, steps, `${stage}, loss ${loss.toFixed(3)}`);
  }

  step({ step, steps, metrics }: StepReport): void {
    this.#accuracy = metrics["eval/accuracy"] ?? this.#accuracy;
    const reward = metrics.reward?.toFixed(3) ?? "-";
    const speed = count(metrics["tokens_per_second/generate"]);
    this.#draw(
      "training",
      step,
      steps,
      `reward ${reward}  accuracy ${percent(this.#accuracy)}  ${speed} tokens/s`,
    );
  }

  #draw(what: string, step: number, steps: number, text: string): void {
    if (!this.#terminal.interactive) return;
    // Pseudo-terminals may say 0.
    const columns = this.#terminal.columns || 80;
    const width = columns < 100 ? 8 : 24;
    const full = steps === 0 ? width : Math.round((width * step) / steps);
    const bar = "█".repeat(full) + "░".repeat(width - full);
    const seconds = ((performance.now() - this.#begun) / 1000).toFixed(0);
    const whole = `${what.padEnd(10)} ${bar} ${step}/${steps}  ${text}  ${seconds} s`;
    // A line that wraps could not be drawn over.
    const line = whole.slice(0, columns - 1);
    this.#terminal.err(`\r${line.padEnd(this.#drawn)}`);
    this.#drawn = line.length;
  }

  /** Leaves the line free for what comes next. */
  clear(): void {
    if (this.#drawn > 0) this.#terminal.err(`\r${" ".repeat(this.#drawn)}\r`);
    this.#drawn = 0;
  }
}
