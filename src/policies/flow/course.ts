import type { FlowPlan, FlowStart, SampleRequest } from "../../contract/index.js";
import { checkChoice, checkInteger, checkKeys, checkNumber, invalid } from "../../engine/checks.js";
import { type FlowActions, flowStepNoise, flowTimes } from "../../engine/kernels/flowActions.js";
import { flowCoefficients } from "../../engine/kernels/flowCoefficients.js";
import { type FlowKind, flowKinds } from "../../engine/kernels/gaussianTable.js";
import { checkRollouts } from "../sampleRequest.js";
import type { FlowConfig } from "./config.js";

/** Times and noise of a rollout, before it is taken. */
export interface Course extends Pick<FlowActions, "sigmas" | "noise" | "noiseLevels"> {
  /** 1 where the step has a log-prob: its noise is not 0. */
  readonly noised: Uint8Array;
  /** The state that it begins at; null: noise. */
  readonly from: Float32Array | null;
}

/**
 * What a request asks for, by prompt, before anything is computed.
 *
 * @throws FiresteelError ERR_SHAPE, ERR_RANGE, ERR_OPTION, ERR_SAMPLER (a hook)
 */
export function coursesOf(config: FlowConfig, request: SampleRequest): Course[] {
  checkRollouts(request);
  const { prompts, starts, temperature, greedy, stop, streams, noiseStreams } = request;
  checkTemperature(temperature);
  if (stop.length > 0) throw invalid("ERR_OPTION", "stop", "nothing (actions are no tokens)", stop);
  if (noiseStreams !== undefined && noiseStreams.length !== streams.length) {
    const expected = `one per rollout (${streams.length})`;
    throw invalid("ERR_SHAPE", "noiseStreams", expected, noiseStreams);
  }
  const plan = checkPlan(request.flow ?? {});
  if (greedy && plan.noiseLevel !== undefined) {
    throw invalid("ERR_OPTION", "flow.noiseLevel", "nothing (greedy has none)", plan.noiseLevel);
  }
  const noiseLevel = greedy ? 0 : plan.noiseLevel;
  if (starts === undefined) {
    const sigmas = flowTimes(request.maxCompletionLength, plan.shift ?? config.shift);
    const course = courseOf(sigmas, plan.noise ?? "sde", noiseLevel ?? 0.7, null);
    return prompts.map(() => course);
  }
  if (noiseStreams !== undefined) {
    throw invalid("ERR_OPTION", "noiseStreams", "nothing (starts are given)", noiseStreams);
  }
  if (plan.shift !== undefined) {
    throw invalid("ERR_OPTION", "flow.shift", "nothing (starts have their times)", plan.shift);
  }
  if (starts.length !== prompts.length) {
    throw invalid("ERR_SHAPE", "starts", `one per prompt (${prompts.length})`, starts);
  }
  return starts.map((start, i) => {
    const { actions, at } = checkStart(`starts[${i}]`, start, config);
    const from = actions.states.subarray(at * config.width, (at + 1) * config.width);
    const levels = noiseLevel ?? Array.from(actions.noiseLevels.subarray(at));
    return courseOf(actions.sigmas.subarray(at), plan.noise ?? actions.noise, levels, from);
  });
}

/** Flow policies have no logits to divide. @throws FiresteelError ERR_OPTION */
export function checkTemperature(temperature: number): void {
  if (temperature === 1) return;
  throw invalid("ERR_OPTION", "temperature", "1 (a flow policy has no logits)", temperature);
}

function checkPlan(plan: FlowPlan): FlowPlan {
  checkKeys("flow", plan, ["noise", "noiseLevel", "shift"]);
  if (plan.noise !== undefined) {
    checkChoice("flow.noise", plan.noise, Object.keys(flowKinds) as FlowKind[]);
  }
  if (plan.shift !== undefined) checkNumber("flow.shift", plan.shift, 1e-3, 1e3);
  return plan;
}

function checkStart(name: string, { actions, at }: FlowStart, { width }: FlowConfig): FlowStart {
  if (actions?.kind !== "flow") {
    throw invalid("ERR_OPTION", `${name}.actions`, "those of a flow rollout", actions?.kind);
  }
  if (actions.width !== width) {
    throw invalid("ERR_SHAPE", `the width of ${name}.actions`, String(width), actions.width);
  }
  checkInteger(`${name}.at`, at, 0, actions.length);
  return { actions, at };
}

function courseOf(
  sigmas: Float32Array,
  noise: FlowKind,
  level: number | readonly number[],
  from: Float32Array | null,
): Course {
  const length = sigmas.length - 1;
  if (typeof level !== "number" && level.length !== length) {
    throw invalid("ERR_SHAPE", "flow.noiseLevel", `a number or one per step (${length})`, level);
  }
  const noiseLevels =
    typeof level === "number" ? new Float32Array(length).fill(level) : Float32Array.from(level);
  const of = { sigmas, noiseLevels };
  const steps = Array.from({ length }, (_, step) => ({ of, step }));
  const step = flowStepNoise(noise, steps);
  const { std } = flowCoefficients(step.schedule, step.noise);
  return { ...of, noise, noised: Uint8Array.from(std, (s) => (s === 0 ? 0 : 1)), from };
}
