/** What is asked, what was answered, and what it is compared with. */

/** One turn of a conversation. */
export interface Message {
  role: "system" | "user" | "assistant" | "tool";
  content: string;
}

/** What a verifier compares an answer with; its form is the verifier's. */
export type Label =
  | string
  | number
  | boolean
  | readonly Label[]
  | { readonly [key: string]: Label };

/** A prompt before a policy's tokenizer has seen it. */
export interface Question {
  /** Stable across runs and checkpoints. */
  id: string;
  messages: Message[];
  label: Label | null;
  /** Further data that rewards and sources may read. */
  columns: Record<string, unknown>;
  /** Which of several tasks in one batch this is, e.g. "policy", "pointwise". */
  kind?: string;
  /** Of several mixed tasks, the one whose rewards judge it. */
  task?: string;
}

export interface Prompt extends Question {
  /** Token ids of the prompt, as the policy sees them. */
  tokens: Int32Array;
}

/**
 * How a flow model's steps get their noise: by the SDE of Flow-GRPO, that of DanceGRPO, or Flow-CPS.
 * `flowCoefficients` has the formulas.
 */
export type FlowNoiseKind = "sde" | "constant-sde" | "cps";

/** What a policy did. `length` is the number of actions: of mask entries and action-level values. */
export type Actions =
  | { kind: "tokens"; length: number; ids: Int32Array }
  /** Mixtures of `width` token embeddings; where `latent` is 0 the step is the ordinary token ids[i * width]. */
  | {
      kind: "latent";
      length: number;
      width: number;
      ids: Int32Array;
      scores: Float32Array;
      latent: Uint8Array;
    }
  /**
   * `length` steps through `length + 1` states of `width` elements, at times `sigmas` that fall from 1
   * (noise) to 0 (data). Step i was taken with noise of level noiseLevels[i]; 0: without, along the ODE.
   */
  | {
      kind: "flow";
      length: number;
      width: number;
      states: Float32Array;
      sigmas: Float32Array;
      noise: FlowNoiseKind;
      noiseLevels: Float32Array;
    }
  /** One Bernoulli choice per possible edge. */
  | { kind: "graph"; length: number; edges: Uint8Array }
  /** `length` steps, each a field of `width` elements. */
  | { kind: "field"; length: number; width: number; values: Float32Array };

/** Numbers attached to a trajectory, at the granularity at which they differ. */
export type Column =
  | { level: "row"; value: number }
  /** values[s] holds for the actions bounds[s] .. bounds[s + 1] - 1; bounds run from 0 to the length. */
  | { level: "segment"; values: Float32Array; bounds: Int32Array }
  | { level: "action"; values: Float32Array };

/**
 * How a rollout ended: by its own end or stop token, at `maxCompletionLength`, by a hook or a signal, or by
 * a failure of its sampler.
 */
export type Finish = "stop" | "length" | "abort" | "error";

/**
 * One rollout: a prompt, what was done, and every number that stages attach to it. T actions lie behind
 * `actions`, `mask` and the columns at action level.
 */
export interface Trajectory {
  /** Unique within a step. */
  id: number;
  /** What its log-probs are conditioned on. */
  prompt: Prompt;
  /** Where it differs from `prompt`: hinted, critiqued, steered, privileged context. */
  sampledFrom?: Prompt;
  /** What was done; `actions.length` is T. */
  actions: Actions;
  /** 1 = trained, per action. Injected observations are 0. */
  mask: Uint8Array;
  /** "samplerLogProb", "advantage", "weight", beliefs, clip bounds ... */
  columns: Record<string, Column>;
  /** What it is compared with: prompt, paraphrase, stratum, stage, depth, episode. */
  keys: Record<string, string | number>;
  /** By reward name; null = this reward does not apply. */
  rewards: Record<string, number | null>;
  /** The weighted sum; null = no reward applies, and statistics leave it out. */
  reward: number | null;
  /** The completion as text, without its end token; "" where actions are no text. */
  text: string;
  /** How it ended. */
  finish: Finish;
  /** The rollout it was forked or cut from, and the action at which. */
  parent?: { trajectory: number; at: number };
  /** Optimiser steps that the sampling weights had seen. */
  policyVersion: number;
  /** Whatever a stage wants to hand on; kernels and losses do not read it. */
  info: Record<string, unknown>;
}

/** Trajectories that are compared with each other. */
export interface Group {
  key: string;
  prompt: Prompt;
  trajectories: readonly Trajectory[];
}

/** Text to token ids and back, over a closed or learned vocabulary. */
export interface Tokenizer {
  readonly vocabularySize: number;
  /** The id that ends a completion. */
  readonly endOfSequence: number;
  /** Throws FiresteelError ERR_RANGE where the text has no encoding. */
  encode(text: string): Int32Array;
  /** Leaves the end-of-sequence token out. */
  decode(ids: Int32Array): string;
}
