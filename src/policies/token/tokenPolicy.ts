import type {
  Demonstration,
  DifferentiableScores,
  Policy,
  PolicyRow,
  Prompt,
  RandomStream,
  SampleRequest,
  ScoringOptions,
  Tokenizer,
  Trajectory,
} from "../../contract/index.js";
import {
  aFlag,
  aFunction,
  anEngine,
  anObject,
  aPath,
  checkArguments,
  listOf,
  optional,
  withFields,
} from "../../engine/arguments.js";
import { checkChoice, checkInteger, checkKeys, invalid } from "../../engine/checks.js";
import { aPolicyRow, aPrompt, aSampleRequest } from "../../engine/contractKinds.js";
import type { Engine } from "../../engine/engine.js";
import { scale } from "../../engine/nn/elementwise.js";
import type { Tensor } from "../../engine/tensor.js";
import { Parameter } from "../../nn/parameter.js";
import type { Var } from "../../nn/tape.js";
import { misfit } from "../policyFiles.js";
import { checkNoOthers, weightOf, writeWeight } from "../weightFile.js";
import { checkTokenConfig, type PolicyDType, policyDTypes, type TokenConfig } from "./config.js";
import { readPolicy, writePolicy } from "./files.js";
import { type Completion, generate, type TokenWatch } from "./generate.js";
import { imitate } from "./imitation.js";
import { DifferentiableTokenScores, scoreRows } from "./scoring.js";
import { formatTokenizer } from "./tokenizerFiles.js";
import { isValueHead, Transformer } from "./transformer.js";
import { freshWeights, storedWeights } from "./weights.js";

/** A decoder-only transformer (RMSNorm, RoPE, grouped queries, SwiGLU) that acts by tokens. */
export class TokenPolicy implements Policy {
  readonly kind = "tokens";
  readonly engine: Engine;
  readonly config: TokenConfig;
  readonly tokenizer: Tokenizer | null;
  readonly #model: Transformer;

  private constructor(model: Transformer, tokenizer: Tokenizer | null) {
    this.#model = model;
    this.engine = model.engine;
    this.config = model.config;
    this.tokenizer = tokenizer;
  }

  /**
   * A policy with fresh weights.
   *
   * @param options.tokenizer default null: prompts and completions are token ids alone
   * @param options.seed of the weights, default 0
   * @throws FiresteelError ERR_OPTION, ERR_RANGE, ERR_OUT_OF_MEMORY
   * @example
   * TokenPolicy.create(engine, tinyConfig(tokenizer.vocabularySize), { tokenizer, seed: 1 });
   */
  static create(
    engine: Engine,
    config: TokenConfig,
    options: { tokenizer?: Tokenizer | null; seed?: number } = {},
  ): TokenPolicy {
    checkArguments({ engine }, { engine: anEngine });
    checkKeys("options", options, ["tokenizer", "seed"]);
    const { tokenizer = null, seed = 0 } = options;
    const checked = Object.freeze({ ...checkTokenConfig(config) });
    checkInteger("seed", seed, 0, Number.MAX_SAFE_INTEGER);
    checkTokenizer(tokenizer, checked);
    return new TokenPolicy(
      Transformer.build(engine, checked, freshWeights(engine, checked, seed)),
      tokenizer,
    );
  }

  /**
   * The policy that `save` wrote into a folder.
   *
   * @param options.dtype of its weights here; default that of the folder's configuration
   * @param options.valueHead true: with a value head, a fresh one where the folder has none. Default: as
   *   the folder has it
   * @throws FiresteelError ERR_CHECKPOINT where it is missing, damaged or not whole; ERR_OPTION
   */
  static async open(
    engine: Engine,
    directory: string,
    options: { dtype?: PolicyDType; valueHead?: true } = {},
  ): Promise<TokenPolicy> {
    checkArguments({ engine, directory }, { engine: anEngine, directory: aPath });
    checkKeys("options", options, ["dtype", "valueHead"]);
    const { config: saved, tokenizer, weights, weightsPath } = await readPolicy(directory);
    const config = {
      ...saved,
      dtype: options.dtype ?? saved.dtype,
      valueHead: options.valueHead ?? saved.valueHead,
    };
    checkChoice("dtype", config.dtype, policyDTypes);
    if (tokenizer !== null && tokenizer.vocabularySize > config.vocabSize) {
      throw misfit(directory, "its tokenizer has more tokens than its weights");
    }
    const stored = storedWeights(engine, config, weights, weightsPath);
    const fresh = freshWeights(engine, config, 0);
    const model = Transformer.build(engine, Object.freeze(config), (spec) =>
      isValueHead(spec.name) && !saved.valueHead ? fresh(spec) : stored(spec),
    );
    const policy = new TokenPolicy(model, tokenizer);
    try {
      checkNoOthers(weights, namesOf(policy.parameters), weightsPath);
    } catch (error) {
      policy.dispose();
      throw error;
    }
    return policy;
  }

  get maxLength(): number {
    return this.config.maxLength;
  }

  get valueHead(): boolean {
    return this.config.valueHead;
  }

  /** Every trainable tensor, by name and in a fixed order. */
  get parameters(): readonly Parameter[] {
    return this.#model.parameters;
  }

  /**
   * Samples completions; see `generate`. Their log-probs are, to the last bit, those that `score`
   * and `forward` give for them. A row ends at the tokenizer's end-of-sequence token, at one of
   * `request.stop`, or at its length limit.
   *
   * @param watch sees the tokens as they come, and can end a rollout
   * @throws FiresteelError ERR_SHAPE, ERR_RANGE, ERR_SAMPLER, ERR_OUT_OF_MEMORY, ERR_ABORTED
   */
  async sample(request: SampleRequest, watch?: TokenWatch): Promise<Trajectory[]> {
    checkArguments({ request, watch }, { request: aSampleRequest, watch: optional(aFunction) });
    const stop = new Set(request.stop);
    if (this.tokenizer !== null) stop.add(this.tokenizer.endOfSequence);
    const completions = await generate(this.#model, request, stop, watch);
    return completions.map((completion, id) => this.#trajectory(completion, id, request));
  }

  #trajectory(completion: Completion, id: number, { prompts }: SampleRequest): Trajectory {
    const { ids, finish } = completion;
    const prompt = prompts[completion.prompt]!;
    return {
      id,
      prompt,
      actions: { kind: "tokens", length: ids.length, ids },
      mask: new Uint8Array(ids.length).fill(1),
      columns: { samplerLogProb: { level: "action", values: completion.logProb } },
      keys: { prompt: prompt.id },
      rewards: {},
      reward: null,
      text: this.tokenizer?.decode(ids) ?? "",
      finish,
      policyVersion: 0,
      info: {},
    };
  }

  /** @throws FiresteelError ERR_SHAPE, ERR_RANGE, ERR_OPTION, ERR_OUT_OF_MEMORY */
  score(
    rows: readonly PolicyRow[],
    options: ScoringOptions = {},
  ): {
    rowOffsets: Int32Array;
    logProb: Tensor;
    entropy: Tensor | null;
    value: Tensor | null;
    logits: Tensor | null;
  } {
    checkArguments({ rows, options }, { rows: listOf(aPolicyRow), options: anObject });
    const { tape, rowOffsets, tables, ...scores } = scoreRows(this.#model, rows, options, false);
    const taken = (score: Var | null) => (score === null ? null : tape.release(score));
    const out = {
      rowOffsets,
      logProb: tape.release(scores.logProb),
      entropy: taken(scores.entropy),
      value: taken(scores.value),
      logits: taken(scores.logits),
    };
    tape.dispose();
    tables.dispose();
    return out;
  }

  /** @throws FiresteelError ERR_SHAPE, ERR_RANGE, ERR_OPTION, ERR_OUT_OF_MEMORY */
  forward(rows: readonly PolicyRow[], options: ScoringOptions = {}): DifferentiableScores {
    checkArguments({ rows, options }, { rows: listOf(aPolicyRow), options: anObject });
    return new DifferentiableTokenScores(scoreRows(this.#model, rows, options, true));
  }

  /**
   * Cross entropy over the completions and their ends, mean over tokens. Draws nothing.
   *
   * @throws FiresteelError ERR_OPTION (no tokenizer, a demonstration without a completion), ERR_RANGE
   */
  async imitate(
    demonstrations: readonly Demonstration<Prompt>[],
    how: { stream: RandomStream; measure: boolean },
  ): Promise<number | null> {
    checkArguments(
      { demonstrations, how },
      {
        demonstrations: listOf(withFields({ question: aPrompt })),
        how: withFields({ measure: aFlag }),
      },
    );
    const { measure } = how;
    return imitate(this, demonstrations, measure);
  }

  clone(): TokenPolicy {
    const own = new Map(this.parameters.map(({ name, value }) => [name, value]));
    const model = Transformer.build(this.engine, this.config, ({ name }) => {
      return new Parameter(name, scale(this.engine, 1, own.get(name)!));
    });
    return new TokenPolicy(model, this.tokenizer);
  }

  /**
   * config.json, model.safetensors and, where there is a tokenizer, tokenizer.json and
   * tokenizer_config.json: the files that Hugging Face's libraries read.
   */
  async save(directory: string): Promise<void> {
    checkArguments({ directory }, { directory: aPath });
    await writePolicy(directory, this.config, this.parameters, this.tokenizer);
  }

  /**
   * Replaces the weights by those of a folder that `save` wrote, in this policy's dtype. An optimiser
   * of bf16 weights has masters of its own: load its state too, or make a new one.
   */
  async load(directory: string): Promise<void> {
    checkArguments({ directory }, { directory: aPath });
    const { config, tokenizer, weights, weightsPath } = await readPolicy(directory);
    for (const [name, value] of Object.entries(config)) {
      const mine = this.config[name as keyof TokenConfig];
      if (value === mine || free.includes(name)) continue;
      throw misfit(directory, `its ${name} is ${value}, this policy's ${mine}`);
    }
    if (textOf(tokenizer) !== textOf(this.tokenizer)) {
      throw misfit(directory, "its tokenizer is another one");
    }
    const common = this.parameters.filter(({ name }) => config.valueHead || !isValueHead(name));
    const extra = [...weights.tensors.keys()].filter(
      (name) => config.valueHead && isValueHead(name),
    );
    checkNoOthers(weights, [...namesOf(common), ...extra], weightsPath);
    const values = common.map(({ name, value: { shape } }) =>
      weightOf(weights, { name, shape }, weightsPath),
    );
    for (const [i, parameter] of common.entries()) writeWeight(parameter, values[i]!);
  }

  /** Frees weights, gradients and caches. The policy cannot be used afterwards. */
  dispose(): void {
    for (const parameter of this.parameters) parameter.dispose();
  }
}

/** What may differ between a policy and the folder that it loads. */
const free = ["initializerRange", "dtype", "valueHead"];

function namesOf(parameters: readonly { name: string }[]): string[] {
  return parameters.map(({ name }) => name);
}

function textOf(tokenizer: Tokenizer | null): string | null {
  return tokenizer === null ? null : formatTokenizer(tokenizer).tokenizer;
}

function checkTokenizer(tokenizer: Tokenizer | null, { vocabSize }: TokenConfig): void {
  if (tokenizer === null || tokenizer.vocabularySize <= vocabSize) return;
  const expected = `at least the tokenizer's ${tokenizer.vocabularySize}`;
  throw invalid("ERR_OPTION", "vocabSize", expected, vocabSize);
}
