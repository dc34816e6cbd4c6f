import { expect } from "vitest";
import { FiresteelError } from "../../src/engine/error.js";

/** Code and message of what `fn` throws; anything but a FiresteelError fails the test. */
export function refusal(fn: () => unknown): string {
  try {
    fn();
  } catch (error) {
    expect(error).toBeInstanceOf(FiresteelError);
    return `${(error as FiresteelError).code}: ${(error as Error).message}`;
  }
  return "nothing thrown";
}
