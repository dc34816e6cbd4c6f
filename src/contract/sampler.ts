import type { Actions, FlowNoiseKind, Prompt, Trajectory } from "./data.js";
import type { Policy } from "./policy.js";

/** How a flow policy samples; what it leaves out comes from Flow-GRPO (arXiv 2505.05470). */
export interface FlowPlan {
  /** Default "sde". */
  noise?: FlowNoiseKind;
  /** a, of all steps or one each; 0: the step follows the ODE. Default 0.7. */
  noiseLevel?: number | readonly number[];
  /** Of the times: sigma becomes shift sigma / (1 + (shift - 1) sigma). Default the policy's. */
  shift?: number;
}

/** Where a flow rollout goes on from: the state and the remaining times of another after `at` steps. */
export interface FlowStart {
  readonly actions: Extract<Actions, { kind: "flow" }>;
  readonly at: number;
}

/** What a stage asks of StepContext.sample; what it leaves out comes from the run's settings. */
export interface SamplePlan {
  prompts: readonly Prompt[];
  /** Rollouts per prompt: one number for all, or one each. */
  counts: number | readonly number[];
  temperature?: number;
  maxCompletionLength?: number;
  /**
   * The most probable action each time, no randomness; of a flow policy the ODE from random noise.
   * Default false.
   */
  greedy?: boolean;
  /** Further token ids that end a completion. */
  stop?: readonly number[];
  hook?: DecodeHook;
  /** Which model acts. Default "policy". */
  model?: string;
  /** For flow policies. */
  flow?: FlowPlan;
  /** For flow policies: rollouts of a prompt begin at the same noise. Default false. */
  sharedNoise?: boolean;
  /** For flow policies, one per prompt. Default: from noise. */
  starts?: readonly FlowStart[];
}

/**
 * Two 32-bit words that name a stream of random numbers. A rollout depends on its stream, prompt and
 * weights alone, never on its neighbours in the batch.
 */
export type RandomStream = readonly [number, number];

/** A SamplePlan with everything settled, as samplers and policies get it. */
export interface SampleRequest {
  prompts: readonly Prompt[];
  /** One per prompt. */
  counts: readonly number[];
  /** One per rollout, in order. */
  streams: readonly RandomStream[];
  temperature: number;
  maxCompletionLength: number;
  greedy: boolean;
  stop: readonly number[];
  hook: DecodeHook | null;
  signal: AbortSignal | null;
  /** What only flow policies can do; others refuse it. */
  flow?: FlowPlan;
  /** One per rollout: draws the noise that it begins at. Default: its own stream does. */
  noiseStreams?: readonly RandomStream[];
  starts?: readonly FlowStart[];
}

/** What a hook sees of a completion before its next token is drawn. */
export interface DecodeView {
  trajectory: number;
  prompt: Prompt;
  /** Actions so far. */
  ids: readonly number[];
  /** The m most probable next tokens, descending; m is the hook's. */
  top: readonly { id: number; probability: number }[];
  /** Of the next token's distribution, in nats. */
  entropy: number;
}

/**
 * What a hook wants: to go on, to inject tokens, to end the completion, to split it into `children`, or to
 * throw it away.
 */
export type DecodeAnswer =
  | { do: "continue" }
  /** Injects tokens; trained 0 gives them mask 0. */
  | { do: "force"; tokens: readonly number[]; trained: 0 | 1 }
  | { do: "stop" }
  | { do: "fork"; children: number }
  | { do: "drop" };

/** Looks on while a completion grows, and may steer it. */
export interface DecodeHook {
  /** How many of the most probable tokens it wants to see. */
  top: number;
  /** What it may answer: a sampler that cannot do one of these refuses the plan. */
  answers: readonly DecodeAnswer["do"][];
  /** Asked before every token; a promise is no answer. */
  decide(view: DecodeView): DecodeAnswer;
}

/** What a system can require of a sampler; checked before the first rollout. */
export type Capability =
  /** Log-probs of the sampled actions. */
  | "logProbs"
  /** These log-probs equal the policy's own to the last bit. */
  | "exactLogProbs"
  /** `streams` decides the rollout. */
  | "streams"
  | "greedy"
  | "stop"
  | "force"
  | "fork"
  | "drop"
  /** Flow plans, shared noise, starts. */
  | "flow"
  /** Weights are this process's and always current. */
  | "currentWeights";

/** Where rollouts come from. */
export interface Sampler {
  readonly name: string;
  readonly capabilities: ReadonlySet<Capability>;
  /** Rollouts in the order of the prompts. Actions are token ids; nothing is tokenised again. */
  sample(request: SampleRequest): Promise<Trajectory[]>;
  /**
   * The weights are now those of `policy`; `version` counts optimiser steps. `signal` ends the waiting for a
   * server that is to load them.
   */
  refresh(version: number, policy: Policy, signal?: AbortSignal | null): Promise<void>;
}
