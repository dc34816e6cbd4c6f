import { randomUUID } from "node:crypto";
import type { Finish, Tokenizer } from "../contract/data.js";
import type { ServedWeights } from "./servedWeights.js";

/** Tokens of one completion, and what is said of them. */
interface AnswerTokens {
  readonly ids: readonly number[];
  readonly logProb: readonly number[];
  /** Characters of the completion before them. */
  readonly textOffset: number;
}

export interface AnswerChoice extends AnswerTokens {
  readonly index: number;
  readonly text: string;
  /** null: more is to come. */
  readonly finish: Finish | null;
  /** null where it was said before. */
  readonly promptIds: readonly number[] | null;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

export function usageOf(promptTokens: number, completionTokens: number): Usage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}

/** How the answers to one request are written, whole or in parts. */
export class AnswerFormat {
  readonly #head: object;
  readonly #tokenizer: Tokenizer | null;
  readonly #logprobs: boolean;
  readonly #tokenIds: boolean;

  constructor(
    { version, fingerprint, policy }: ServedWeights,
    model: string,
    show: { readonly logprobs: boolean; readonly tokenIds: boolean },
  ) {
    this.#head = {
      id: `cmpl-${randomUUID()}`,
      object: "text_completion",
      created: Math.floor(Date.now() / 1000),
      model,
      system_fingerprint: fingerprint,
      weight_version: version,
    };
    this.#tokenizer = policy.tokenizer;
    this.#logprobs = show.logprobs;
    this.#tokenIds = show.tokenIds;
  }

  /** @param usage undefined: it is not asked for */
  body(choices: readonly AnswerChoice[], usage: Usage | null | undefined): object {
    const counted = usage === undefined ? {} : { usage };
    return { ...this.#head, choices: choices.map((choice) => this.#choice(choice)), ...counted };
  }

  #choice(choice: AnswerChoice): object {
    const { index, text, finish, ids, promptIds } = choice;
    return {
      index,
      text,
      logprobs: this.#logprobs ? this.#tokenLogprobs(choice) : null,
      finish_reason: finish,
      ...(this.#tokenIds ? { token_ids: ids, prompt_token_ids: promptIds } : {}),
    };
  }

  #tokenLogprobs({ ids, logProb, textOffset }: AnswerTokens): object {
    const tokens = ids.map((id) => this.#tokenizer?.decode(Int32Array.of(id)) ?? "");
    let offset = textOffset;
    const offsets = tokens.map((token) => {
      const at = offset;
      offset += token.length;
      return at;
    });
    return { tokens, token_logprobs: logProb, top_logprobs: null, text_offset: offsets };
  }
}
