import type { Prompt } from "./data.js";

/** A turn-based world. Observations become injected tokens with mask 0. */
export interface Environment<State = unknown> {
  reset(prompt: Prompt): Promise<State> | State;
  step(
    state: State,
    action: string,
    signal: AbortSignal,
  ): Promise<EnvironmentStep<State>> | EnvironmentStep<State>;
}

export interface EnvironmentStep<State> {
  state: State;
  observation: string;
  done: boolean;
  info: Record<string, unknown>;
}
