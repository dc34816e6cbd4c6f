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

/**
 * Tells everybody that the run is over, also where one of them throws. Its error is the run's where that
 * went well, else a warning: what the run failed of comes first.
 */
export async function tellEnd(
  { callbacks }: Pick<Run, "callbacks">,
  step: number,
  failure: unknown,
  warn?: (warning: string) => void,
): Promise<void> {
  const errors: unknown[] = [];
  for (const callback of callbacks) {
    const report = { step, error: failure };
    await tell({ callbacks: [callback] }, "end", report).catch((error) => errors.push(error));
  }
  if (failure === null && errors.length > 0) throw errors[0];
  for (const error of errors) warn?.(`a callback failed at the end of the run: ${String(error)}`);
}
