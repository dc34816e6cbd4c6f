import type { Column, Group, Prompt, Trajectory } from "../../src/contract/index.js";

/** A prompt of a few made-up tokens. */
export function prompt(id: string, columns: Record<string, unknown> = {}): Prompt {
  const messages = [{ role: "user" as const, content: id }];
  return { id, messages, tokens: Int32Array.of(1, 2), label: null, columns };
}

/** A rollout with a reward (null: none applies) and as many tokens as asked for. */
export function rolloutOf(
  reward: number | null,
  given: { id?: number; length?: number; columns?: Record<string, Column>; prompt?: Prompt } = {},
): Trajectory {
  const { id = 0, length = 2, columns = {} } = given;
  return {
    id,
    prompt: given.prompt ?? prompt("p"),
    actions: { kind: "tokens", length, ids: new Int32Array(length).fill(3) },
    mask: new Uint8Array(length).fill(1),
    columns,
    keys: {},
    rewards: { correct: reward },
    reward,
    text: "",
    finish: "stop",
    policyVersion: 0,
    info: {},
  };
}

/** A group with these rewards. */
export function groupOf(key: string, rewards: readonly (number | null)[]): Group {
  return { key, prompt: prompt(key), trajectories: rewards.map((r, id) => rolloutOf(r, { id })) };
}
