import type { Column, Label, Tokenizer, Trajectory } from "../../contract/data.js";
import { tokenTexts } from "./tokenTexts.js";

/** One line of rollouts.jsonl. Arrays have one value per action; null: there is no such thing. */
export interface RecordedRollout {
  /** Steps between two recorded ones when the line was written. */
  every: number;
  step: number;
  phase: string;
  /** Which of several tasks the prompt is of. */
  kind: string | null;
  /** Rollouts of one step and phase with the same group are compared with each other. */
  group: string;
  rollout: number;
  prompt: string;
  /** What it was sampled from, where that differs: hints, critiques. */
  sampledFrom: string | null;
  label: Label | null;
  /** The completion's texts by token; "" for one that only ends, or that the next one completes. */
  tokens: readonly string[] | null;
  /** null: the rollout was not trained on, or the loss takes no advantage. */
  advantage: readonly (number | null)[] | null;
  logProb: readonly (number | null)[] | null;
  weight: readonly (number | null)[] | null;
  /** 1 = trained. All 0 where the rollout was filtered out. */
  mask: readonly number[];
  rewards: Readonly<Record<string, number | null>>;
  reward: number | null;
  /** By the reward that the task takes its accuracy from; null where that does not apply. */
  right: boolean | null;
  finish: Trajectory["finish"];
  /** Actions beyond `limits.actions`, left out here. */
  cut: number;
}

/** Of what one line may hold. */
export const limits = { actions: 4096, characters: 32_768 } as const;

/** Where a line comes from. */
export interface RolloutPlace {
  every: number;
  step: number;
  phase: string;
  group: string;
}

/**
 * A rollout as it is recorded.
 *
 * @param whole as rewarded
 * @param trained the row that the loss saw of it; null: none
 * @param accuracy the reward that says whether it is right; null: none does
 */
export function recordedRollout(
  place: RolloutPlace,
  whole: Trajectory,
  trained: Trajectory | null,
  accuracy: string | null,
  tokenizer: Tokenizer | null,
): RecordedRollout {
  const { actions, prompt, sampledFrom, rewards } = whole;
  const length = Math.min(actions.length, limits.actions);
  const column = (name: string) => perAction(trained?.columns[name], length);
  const value = accuracy === null ? null : rewards[accuracy];
  return {
    ...place,
    kind: prompt.kind ?? null,
    rollout: whole.id,
    prompt: textOf(prompt.messages),
    sampledFrom: sampledFrom === undefined ? null : textOf(sampledFrom.messages),
    label: prompt.label,
    tokens:
      actions.kind === "tokens" && tokenizer !== null
        ? tokenTexts(actions.ids.subarray(0, length), tokenizer)
        : null,
    advantage: column("advantage"),
    logProb: column("samplerLogProb") ?? perAction(whole.columns.samplerLogProb, length),
    weight: column("weight"),
    mask: trained === null ? Array(length).fill(0) : Array.from(trained.mask.subarray(0, length)),
    rewards,
    reward: whole.reward,
    right: value === undefined || value === null ? null : value > 0.5,
    finish: whole.finish,
    cut: actions.length - length,
  };
}

function textOf(messages: readonly { content: string }[]): string {
  const text = messages.map(({ content }) => content).join("");
  return text.length > limits.characters ? `${text.slice(0, limits.characters)}…` : text;
}

/** The first `length` values of a column, to five digits: a record is looked at, not computed with. */
function perAction(column: Column | undefined, length: number): (number | null)[] | null {
  if (column === undefined) return null;
  const round = (value: number | undefined) =>
    value !== undefined && Number.isFinite(value) ? Number(value.toPrecision(5)) : null;
  if (column.level === "row") return Array(length).fill(round(column.value));
  if (column.level === "action") return Array.from({ length }, (_, i) => round(column.values[i]));
  let segment = 0;
  return Array.from({ length }, (_, i) => {
    while (i >= (column.bounds[segment + 1] ?? Number.POSITIVE_INFINITY)) ++segment;
    return round(column.values[segment]);
  });
}
