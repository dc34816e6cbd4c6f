import type { Demonstration, RandomStream } from "../../contract/index.js";
import { invalid, show } from "../../engine/checks.js";
import { random } from "../../nn/random.js";
import { Tape } from "../../nn/tape.js";
import type { VelocityNetwork } from "./velocityNetwork.js";

/**
 * Conditional flow matching (Lipman et al. 2023; straight paths as in rectified flow): at a uniform
 * time t, the state (1 - t) target + t noise moves with noise - target. The loss is the mean squared
 * error over elements; its gradient is added to the parameters'.
 *
 * @returns the loss where `measure` asks for it, else null
 * @throws FiresteelError ERR_OPTION, ERR_SHAPE, ERR_RANGE
 */
export async function matchFlow(
  network: VelocityNetwork,
  demonstrations: readonly Demonstration[],
  { stream, measure }: { stream: RandomStream; measure: boolean },
): Promise<number | null> {
  const { engine, config } = network;
  const { width } = config;
  const rows = demonstrations.length;
  const inputs = new Float32Array(rows * network.inputs);
  const target = new Float32Array(rows * width);
  const state = new Float32Array(width);
  const { uniform, normal } = random(stream);
  for (const [row, { question, target: data }] of demonstrations.entries()) {
    if (data?.length !== width) {
      const name = `demonstrations[${row}].target (question ${show(question.id)})`;
      throw invalid("ERR_OPTION", name, `a sample of ${width} elements`, data);
    }
    const t = uniform();
    for (let d = 0; d < width; ++d) {
      const noise = normal();
      state[d] = (1 - t) * data[d]! + t * noise;
      target[row * width + d] = noise - data[d]!;
    }
    network.writeInput(inputs, row, state, t, network.conditionOf(question));
  }
  const tape = new Tape(engine);
  try {
    const own = (values: Float32Array, columns: number) =>
      tape.own(engine.tensor(values, [rows, columns]));
    const error = engine.attempt(() => {
      const v = network.forward(tape, tape.constant(own(inputs, network.inputs)));
      return tape.squaredError(v, own(target, width));
    });
    const loss = measure ? mean((await error.value.read()) as Float32Array) : null;
    engine.attempt(() => {
      const seed = tape.own(engine.tensor(new Float32Array(rows).fill(1 / rows)));
      tape.backward([[error, seed]]);
    });
    return loss;
  } finally {
    tape.dispose();
  }
}

function mean(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
