import type { SampleRequest } from "../../contract/index.js";
import { invalid, throwIfAborted } from "../../engine/checks.js";
import { flowStepNoise } from "../../engine/kernels/flowActions.js";
import { flowStep } from "../../engine/kernels/flowStep.js";
import type { Tensor } from "../../engine/tensor.js";
import { type Random, random } from "../../nn/random.js";
import { Tape } from "../../nn/tape.js";
import { type Course, coursesOf } from "./course.js";
import type { VelocityNetwork } from "./velocityNetwork.js";

/** A way from noise to data. */
export interface Path {
  readonly prompt: number;
  readonly course: Course;
  /** [length + 1, width]. */
  readonly states: Float32Array;
  /** [length]; 0 where a step has no noise. */
  readonly logProb: Float32Array;
}

interface Walker extends Path {
  readonly random: Random;
  readonly condition: Float32Array;
  steps: number;
}

/**
 * Samples rollouts, all of them side by side. A rollout depends on its streams, prompt, course and the
 * weights alone.
 *
 * @throws FiresteelError ERR_SHAPE, ERR_RANGE, ERR_OPTION, ERR_SAMPLER, ERR_OUT_OF_MEMORY, ERR_ABORTED
 */
export async function samplePaths(
  network: VelocityNetwork,
  request: SampleRequest,
): Promise<Path[]> {
  const walkers = walkersOf(network, request);
  for (;;) {
    throwIfAborted(request.signal, "Sampling");
    const live = walkers.filter(({ steps, logProb }) => steps < logProb.length);
    if (live.length === 0) return walkers;
    await advance(network, live);
  }
}

function walkersOf(network: VelocityNetwork, request: SampleRequest): Walker[] {
  const { width } = network.config;
  const courses = coursesOf(network.config, request);
  const kinds = [...new Set(courses.map(({ noise }) => noise))];
  if (kinds.length > 1) throw invalid("ERR_OPTION", "flow.noise", "one for all starts", kinds);
  const walkers: Walker[] = [];
  for (const [prompt, course] of courses.entries()) {
    const condition = network.conditionOf(request.prompts[prompt]!);
    const length = course.noiseLevels.length;
    for (let i = 0; i < request.counts[prompt]!; ++i) {
      const own = random(request.streams[walkers.length]!);
      const stream = request.noiseStreams?.[walkers.length];
      const { normal } = stream === undefined ? own : random(stream);
      const states = new Float32Array((length + 1) * width);
      states.set(course.from ?? Float32Array.from({ length: width }, normal));
      const logProb = new Float32Array(length);
      walkers.push({ prompt, course, states, logProb, random: own, condition, steps: 0 });
    }
  }
  return walkers;
}

/** One step of each. */
async function advance(network: VelocityNetwork, live: readonly Walker[]): Promise<void> {
  const { engine, config } = network;
  const { width } = config;
  const rows = live.length;
  const inputs = new Float32Array(rows * network.inputs);
  const x = new Float32Array(rows * width);
  const noise = new Float32Array(rows * width);
  for (const [row, { states, course, steps, condition, random }] of live.entries()) {
    const state = states.subarray(steps * width, (steps + 1) * width);
    network.writeInput(inputs, row, state, course.sigmas[steps]!, condition);
    x.set(state, row * width);
    if (course.noised[steps] === 0) continue;
    for (let d = 0; d < width; ++d) noise[row * width + d] = random.normal();
  }
  const how = flowStepNoise(
    live[0]!.course.noise,
    live.map(({ course, steps }) => ({ of: course, step: steps })),
  );
  const tape = new Tape(engine, { grad: false });
  let made: { next: Tensor; logProb: Tensor };
  try {
    const step = () => {
      const input = engine.tensor(inputs, [rows, network.inputs]);
      const v = network.forward(tape, tape.constant(input)).value;
      const state = engine.tensor(x, [rows, width]);
      const drawn = engine.tensor(noise, [rows, width]);
      const given = { x: state, v, noise: drawn, ...how.schedule };
      const { next, logProb } = flowStep(engine, given, how.noise);
      return { next, logProb };
    };
    made = engine.attempt(() => engine.scope(step));
  } finally {
    tape.dispose();
  }
  try {
    const [next, logProb] = await Promise.all([made.next.read(), made.logProb.read()]);
    for (const [row, walker] of live.entries()) {
      const reached = (next as Float32Array).subarray(row * width, (row + 1) * width);
      walker.states.set(reached, (walker.steps + 1) * width);
      walker.logProb[walker.steps] = logProb[row]!;
      ++walker.steps;
    }
  } finally {
    made.next.dispose();
    made.logProb.dispose();
  }
}
