import type { Prompt } from "./data.js";

/**
 * What one action led to: the next state, the observation that becomes injected tokens, and whether the
 * episode is over.
 */
export interface EnvironmentStep<State> {
  state: State;
  observation: string;
  done: boolean;
  info: Record<string, unknown>;
}

/** A turn-based world. Observations become injected tokens with mask 0. */
export interface Environment<State = unknown> {
  /** The state in which an episode on this prompt begins. */
  reset(prompt: Prompt): Promise<State> | State;
  /** Takes one action (a text) and says what is seen then; it must give up when `signal` aborts. */
  step(
    state: State,
    action: string,
    signal: AbortSignal,
  ): Promise<EnvironmentStep<State>> | EnvironmentStep<State>;
}
