import type {
  Demonstration,
  DifferentiableScores,
  Policy,
  PolicyRow,
  Question,
  RandomStream,
  SampleRequest,
  ScoringOptions,
  Trajectory,
} from "../../contract/index.js";
import {
  aNumber,
  anEngine,
  anObject,
  aPath,
  checkArguments,
  listOf,
  numbers,
  optional,
  withFields,
} from "../../engine/arguments.js";
import { checkInteger, checkKeys, invalid } from "../../engine/checks.js";
import { aPolicyRow, aSampleRequest } from "../../engine/contractKinds.js";
import type { Engine } from "../../engine/engine.js";
import { scale } from "../../engine/nn/elementwise.js";
import type { Tensor } from "../../engine/tensor.js";
import { initialValues } from "../../nn/initialization.js";
import type { ParameterSource } from "../../nn/modules/module.js";
import { Parameter } from "../../nn/parameter.js";
import { misfit } from "../policyFiles.js";
import { checkNoOthers, weightOf, writeWeight } from "../weightFile.js";
import { checkFlowConfig, type FlowConfig } from "./config.js";
import { readFlowPolicy, writeFlowPolicy } from "./files.js";
import { matchFlow } from "./imitation.js";
import { type Path, samplePaths } from "./sampling.js";
import { DifferentiableFlowScores, scoreSteps } from "./scoring.js";
import { VelocityNetwork } from "./velocityNetwork.js";

/** Longest text of a sample, in elements: wider ones have none. */
const shownWidth = 16;

/**
 * A conditional flow model that acts by denoising steps (Flow-GRPO, arXiv 2505.05470): from noise at
 * time 1 to a sample at time 0. A step with noise is a Gaussian transition, whose log-prob is the mean
 * over its elements; a step without follows the ODE and is not trained.
 *
 * A question asks by its column `condition`: an integer for one of `conditionWidth` classes, or an array
 * of as many features. `maxCompletionLength` is the number of steps. float32 only.
 */
export class FlowPolicy implements Policy {
  readonly kind = "flow";
  readonly engine: Engine;
  readonly config: FlowConfig;
  readonly tokenizer = null;
  /** There is no context to fill: as many steps as are asked for. */
  readonly maxLength = 2 ** 24;
  readonly #network: VelocityNetwork;

  private constructor(network: VelocityNetwork) {
    this.#network = network;
    this.engine = network.engine;
    this.config = network.config;
  }

  /**
   * A policy with fresh weights: normal with variance 1 / inputs, biases 0.
   *
   * @param options.seed of the weights, default 0
   * @throws FiresteelError ERR_OPTION, ERR_RANGE, ERR_OUT_OF_MEMORY
   * @example
   * const shape = { width: 2, conditionWidth: 8, hiddenSize: 64, numLayers: 2, shift: 1 };
   * FlowPolicy.create(engine, shape, { seed: 1 });
   */
  static create(engine: Engine, config: FlowConfig, options: { seed?: number } = {}): FlowPolicy {
    checkArguments({ engine }, { engine: anEngine });
    checkKeys("options", options, ["seed"]);
    const seed = checkInteger("seed", options.seed ?? 0, 0, Number.MAX_SAFE_INTEGER);
    const checked = Object.freeze({ ...checkFlowConfig(config) });
    return FlowPolicy.#with(engine, checked, (spec) => {
      const std = spec.shape.at(-1)! ** -0.5;
      const values = initialValues(spec, seed, { std, residualLayers: 1 });
      return new Parameter(spec.name, engine.tensor(values, spec.shape));
    });
  }

  /**
   * The policy that `save` wrote into a folder.
   *
   * @throws FiresteelError ERR_CHECKPOINT where it is missing, damaged, not whole or of another kind
   */
  static async open(engine: Engine, directory: string): Promise<FlowPolicy> {
    checkArguments({ engine, directory }, { engine: anEngine, directory: aPath });
    const { config, weights, weightsPath } = await readFlowPolicy(directory);
    return engine.attempt(() => {
      const policy = FlowPolicy.#with(engine, Object.freeze(config), (spec) => {
        const values = weightOf(weights, spec, weightsPath);
        return new Parameter(spec.name, engine.tensor(values, spec.shape));
      });
      const names = policy.parameters.map(({ name }) => name);
      checkNoOthers(weights, names, weightsPath);
      return policy;
    });
  }

  static #with(engine: Engine, config: FlowConfig, source: ParameterSource): FlowPolicy {
    return engine.attempt(() => new FlowPolicy(new VelocityNetwork(engine, config, source)));
  }

  /** Every trainable tensor, by name and in a fixed order. */
  get parameters(): readonly Parameter[] {
    return this.#network.parameters;
  }

  /** @throws FiresteelError ERR_OPTION, ERR_RANGE: what is wrong with its column `condition` */
  checkQuestion(question: Question): void {
    checkArguments({ question }, { question: withFields({ columns: anObject }) });
    this.#network.conditionOf(question);
  }

  /**
   * Samples rollouts of `maxCompletionLength` steps, by the SDE with noise level 0.7 where
   * `request.flow` says nothing, `greedy` along the ODE. Their log-probs (column `samplerLogProb`) are,
   * to the last bit, those that `score` and `forward` give for them. Steps without noise have mask 0.
   *
   * @throws FiresteelError ERR_SHAPE, ERR_RANGE, ERR_OPTION (a temperature, stop ids, a prompt without
   *   condition), ERR_SAMPLER (a hook), ERR_OUT_OF_MEMORY, ERR_ABORTED
   */
  async sample(request: SampleRequest): Promise<Trajectory[]> {
    checkArguments({ request }, { request: aSampleRequest });
    const paths = await samplePaths(this.#network, request);
    return paths.map((path, id) => this.#trajectory(path, id, request));
  }

  #trajectory({ prompt: p, course, states, logProb }: Path, id: number, request: SampleRequest) {
    const { sigmas, noise, noiseLevels, noised } = course;
    const { width } = this.config;
    const prompt = request.prompts[p]!;
    const sample = [...states.subarray(-width)];
    const trajectory: Trajectory = {
      id,
      prompt,
      actions: {
        ...{ kind: "flow", length: logProb.length, width },
        ...{ states, sigmas, noise, noiseLevels },
      },
      mask: noised.slice(),
      columns: { samplerLogProb: { level: "action", values: logProb } },
      keys: { prompt: prompt.id },
      rewards: {},
      reward: null,
      text: width > shownWidth ? "" : sample.map((value) => value.toFixed(3)).join(", "),
      finish: states.every(Number.isFinite) ? "stop" : "error",
      policyVersion: 0,
      info: {},
    };
    return trajectory;
  }

  /**
   * Log-probs of stored steps under the current weights; `mean` as well where asked for. The entropy of
   * a step does not depend on the weights: it is null.
   *
   * @throws FiresteelError ERR_SHAPE, ERR_RANGE, ERR_OPTION, ERR_OUT_OF_MEMORY
   */
  score(
    rows: readonly PolicyRow[],
    options: ScoringOptions = {},
  ): { rowOffsets: Int32Array; logProb: Tensor; entropy: null; mean: Tensor | null } {
    checkArguments({ rows, options }, { rows: listOf(aPolicyRow), options: anObject });
    const { tape, rowOffsets, logProb, mean } = scoreSteps(this.#network, rows, options, false);
    tape.release(logProb);
    if (mean !== null) tape.release(mean);
    tape.dispose();
    return { rowOffsets, logProb: logProb.value, entropy: null, mean: mean?.value ?? null };
  }

  /** @throws FiresteelError as `score`; ERR_OPTION for an entropy, which has no gradient */
  forward(rows: readonly PolicyRow[], options: ScoringOptions = {}): DifferentiableScores {
    checkArguments({ rows, options }, { rows: listOf(aPolicyRow), options: anObject });
    if (options.entropy) {
      throw invalid("ERR_OPTION", "entropy", "false (weights do not move it)", options.entropy);
    }
    return new DifferentiableFlowScores(scoreSteps(this.#network, rows, options, true));
  }

  /** Conditional flow matching; see `matchFlow`. @throws FiresteelError ERR_OPTION, ERR_RANGE */
  async imitate(
    demonstrations: readonly Demonstration[],
    how: { stream: RandomStream; measure: boolean },
  ): Promise<number | null> {
    checkArguments(
      { demonstrations, how },
      {
        demonstrations: listOf(
          withFields({ question: withFields({ columns: anObject }), target: optional(numbers) }),
        ),
        how: withFields({ stream: listOf(aNumber, 2) }),
      },
    );
    return matchFlow(this.#network, demonstrations, how);
  }

  clone(): FlowPolicy {
    const own = new Map(this.parameters.map(({ name, value }) => [name, value]));
    return FlowPolicy.#with(this.engine, this.config, ({ name }) => {
      return new Parameter(name, scale(this.engine, 1, own.get(name)!));
    });
  }

  /** config.json and model.safetensors. */
  async save(directory: string): Promise<void> {
    checkArguments({ directory }, { directory: aPath });
    await writeFlowPolicy(directory, this.config, this.parameters);
  }

  async load(directory: string): Promise<void> {
    checkArguments({ directory }, { directory: aPath });
    const { config, weights, weightsPath } = await readFlowPolicy(directory);
    for (const [name, value] of Object.entries(config)) {
      const mine = this.config[name as keyof FlowConfig];
      if (value === mine) continue;
      throw misfit(directory, `its ${name} is ${value}, this policy's ${mine}`);
    }
    const { parameters } = this;
    const names = parameters.map(({ name }) => name);
    checkNoOthers(weights, names, weightsPath);
    const values = parameters.map(({ name, value: { shape } }) =>
      weightOf(weights, { name, shape }, weightsPath),
    );
    for (const [i, parameter] of parameters.entries()) writeWeight(parameter, values[i]!);
  }

  /** Frees weights and gradients. The policy cannot be used afterwards. */
  dispose(): void {
    for (const parameter of this.parameters) parameter.dispose();
  }
}
