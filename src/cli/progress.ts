import type { Metrics } from "../contract/metrics.js";
import type { RunCallback, RunFrame, StepReport, WarmStartReport } from "../contract/run.js";
import { evaluatedReward, evaluationNames } from "../trainer/evaluationNames.js";
import { lineLength, type Terminal } from "./terminal.js";

/** 12.3%, or a dash where there is nothing to show. */
export function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? "-" : `${(100 * value).toFixed(1)}%`;
}

/** 12,345, or a dash. */
export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? "-" : Math.round(value).toLocaleString("en-US");
}

/** 8 s, 2:05 min or 1:02:05 h. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (value: number) => String(value).padStart(2, "0");
  const [minutes, hours] = [Math.floor(whole / 60), Math.floor(whole / 3600)];
  if (hours === 0) return `${minutes}:${two(whole % 60)} min`;
  return `${hours}:${two(minutes % 60)}:${two(whole % 60)} h`;
}

/** What evaluations are called where there is little room. */
const shortNames: Readonly<Record<string, string>> = {
  "eval/accuracy": "accuracy",
  "judge/pointwise_accuracy": "pointwise",
  "judge/pairwise_accuracy": "pairwise",
  "reflection/accuracy": "reflection",
};

export const evaluationName = (name: string) => shortNames[name] ?? evaluatedReward(name) ?? name;

/** A share as 12.3%, the mean of a reward as it is. */
export function evaluationValue(name: string, value: number | null | undefined): string {
  return evaluatedReward(name) === null ? percent(value) : (value?.toFixed(3) ?? "-");
}

/**
 * A run as it is watched: two lines that are drawn over and over, and above them one line each of what
 * is over (warm start, evaluation before the first step). Nothing at all where nobody looks on.
 */
export class ProgressBlock implements RunCallback {
  readonly #terminal: Terminal;
  #begun = performance.now();
  /** Steps done before this sitting. */
  #before = 0;
  /** Where what is left is reckoned from: the first report of the warm start, then of the steps. */
  #mark: { step: number; time: number } | null = null;
  #warmStart: WarmStartReport | null = null;
  /** Held-out metrics of this task, and their newest values. */
  #evaluations: readonly string[] = ["eval/accuracy"];
  readonly #evaluated = new Map<string, number>();
  #drawn = 0;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  begin({ task, resumedAt }: RunFrame): void {
    this.#begun = performance.now();
    // There is no room for the further ones of a setting.
    this.#evaluations = evaluationNames(task, {
      evalGreedy: false,
      evalPassAtK: [],
      evalMajAtK: [],
    });
    this.#before = Math.max(0, resumedAt);
    if (resumedAt >= 0) this.#mark = { step: resumedAt, time: this.#begun };
  }

  warmStart(report: WarmStartReport): void {
    const { step, steps, stage, loss } = report;
    this.#warmStart = report;
    this.#mark ??= { step, time: performance.now() };
    this.#draw("warm start", step, steps, [`loss ${loss.toFixed(3)}`], [`stage ${stage}`]);
  }

  step({ step, steps, metrics }: StepReport): void {
    for (const name of this.#evaluations) {
      const value = metrics[name];
      if (value !== null && value !== undefined) this.#evaluated.set(name, value);
    }
    if (step === 0) this.#tellStart();
    const { reward = null } = metrics;
    const first = [
      ...(reward === null ? [] : [`reward ${reward.toFixed(3)}`]),
      ...this.#evaluation("eval/accuracy"),
    ];
    this.#draw("training", step, steps, first, this.#details(metrics));
  }

  end({ step }: { step: number }): void {
    this.clear();
    const done = step - this.#before;
    if (done <= 0) return;
    const time = duration(this.#secondsSince(this.#begun));
    this.#tell("training", [`${count(done)} ${done === 1 ? "step" : "steps"} in ${time}`]);
  }

  /** What is over stays: how long the warm start took, and where the policy stands now. */
  #tellStart(): void {
    this.clear();
    if (this.#warmStart !== null) {
      const { steps, loss } = this.#warmStart;
      const time = duration(this.#secondsSince(this.#begun));
      this.#tell("warm start", [`${count(steps)} steps in ${time}, loss ${loss.toFixed(3)}`]);
    }
    const measured = this.#evaluations.flatMap((name) => this.#evaluation(name));
    this.#tell("held out", measured);
    this.#begun = performance.now();
    this.#mark = { step: 0, time: this.#begun };
  }

  #tell(what: string, parts: readonly string[]): void {
    if (!this.#terminal.interactive) return;
    this.#terminal.err(`${fitted(what.padEnd(10), parts, lineLength(this.#terminal))}\n`);
  }

  #evaluation(name: string): string[] {
    const value = this.#evaluated.get(name);
    return value === undefined ? [] : [`${evaluationName(name)} ${evaluationValue(name, value)}`];
  }

  #details(metrics: Metrics): string[] {
    const judged = this.#evaluations.filter((name) => name !== "eval/accuracy");
    const number = (name: string) => {
      const value = metrics[name];
      return value === null || value === undefined ? [] : [`${name} ${value.toPrecision(2)}`];
    };
    const speed = metrics["tokens_per_second/generate"];
    return [
      ...judged.flatMap((name) => this.#evaluation(name)),
      ...(typeof speed === "number" ? [`${count(speed)} tokens/s`] : []),
      ...number("kl"),
      ...number("entropy"),
    ];
  }

  #secondsSince(time: number): number {
    return (performance.now() - time) / 1000;
  }

  #draw(what: string, step: number, steps: number, first: string[], second: string[]): void {
    if (!this.#terminal.interactive) return;
    const columns = lineLength(this.#terminal);
    const width = columns < 100 ? 16 : 32;
    const full = steps === 0 ? width : Math.floor((width * step) / steps);
    const bar = "█".repeat(full) + "░".repeat(width - full);
    const time =
      step === steps ? [duration(this.#secondsSince(this.#begun))] : this.#timeLeft(step, steps);
    const place = `${String(step).padStart(String(steps).length)}/${steps}`;
    const lines = [
      fitted(`${what.padEnd(10)}  ${bar} ${place}`, [...first, ...time], columns),
      fitted(" ".repeat(10), second, columns).trimEnd(),
    ];
    // In one piece: a terminal would show what is between two.
    this.#terminal.err(this.#erasure() + lines.join("\n"));
    this.#drawn = lines.length;
  }

  #timeLeft(step: number, steps: number): string[] {
    if (this.#mark === null || step <= this.#mark.step) return [];
    const each = this.#secondsSince(this.#mark.time) / (step - this.#mark.step);
    return [`${duration(each * (steps - step))} left`];
  }

  /** Leaves the lines free for what comes next. */
  clear(): void {
    if (this.#drawn > 0) this.#terminal.err(this.#erasure());
    this.#drawn = 0;
  }

  /** Back to the block's first line, and everything from there on gone. */
  #erasure(): string {
    const up = this.#drawn > 1 ? `\x1b[${this.#drawn - 1}A` : "";
    return this.#drawn === 0 ? "" : `${up}\r\x1b[J`;
  }
}

/** As many parts as fit whole: a line that wraps could not be drawn over. */
function fitted(head: string, parts: readonly string[], columns: number): string {
  let line = head.slice(0, columns - 1);
  for (const part of parts) {
    if (line.length + 2 + part.length >= columns) break;
    line += `  ${part}`;
  }
  return line;
}
