import type { RunCallback } from "../contract/run.js";
import type { Run } from "./run.js";

type Report<E extends keyof RunCallback> = Parameters<NonNullable<RunCallback[E]>>[0];

/** Tells everybody who looks on, one after the other. @returns their answers */
export async function tell<E extends keyof RunCallback>(
  { callbacks }: Pick<Run, "callbacks">,
  event: E,
  report: Report<E>,
): Promise<unknown[]> {
  const answers: unknown[] = [];
  for (const callback of callbacks) {
    const listen = callback[event] as ((report: Report<E>) => unknown) | undefined;
    if (listen !== undefined) answers.push(await listen.call(callback, report));
  }
  return answers;
}
