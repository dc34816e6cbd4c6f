import type { Question } from "../../contract/data.js";
import type { StateStore, StateValue } from "../../contract/state.js";
import { anInteger, anything, checkArguments, listOf } from "../../engine/arguments.js";

/**
 * A whole batch from the head of a first-in-first-out queue, or nothing.
 *
 * @returns the batch, empty where fewer than `size` wait; and what waits on
 */
export function takeBatch<T>(queue: readonly T[], size: number): { batch: T[]; rest: T[] } {
  checkArguments({ queue, size }, { queue: listOf(anything), size: anInteger() });
  const count = queue.length < size ? 0 : size;
  return { batch: queue.slice(0, count), rest: queue.slice(count) };
}

/** Prompts that were made on the way and wait to be asked. */
export interface PromptQueue {
  /** Their epoch, with which they end; null where they outlast it. */
  readonly epoch: number | null;
  readonly questions: readonly Question[];
}

const key = "recycle/queue";

/** What waits; what an earlier epoch has left behind is gone. */
export function readQueue(state: StateStore, epoch: number): PromptQueue {
  const stored = state.get<StateValue>(key, null) as unknown as PromptQueue | null;
  const holds = stored !== null && (stored.epoch === null || stored.epoch === epoch);
  return holds ? stored : { epoch, questions: [] };
}

export function writeQueue(state: StateStore, queue: PromptQueue): void {
  state.set(key, queue as unknown as StateValue);
}
