import type { ServerResponse } from "node:http";
import type { Trajectory } from "../contract/data.js";
import type { AnswerChoice, AnswerFormat, Usage } from "./completionAnswer.js";
import type { CompletionRequest } from "./completionRequest.js";
import type { RolloutText } from "./rolloutText.js";

/** Bytes that may wait for a client; one that falls further behind is left. */
const maxUnread = 2 ** 23;

/** Tokens of a rollout that no event has told of yet. */
interface Pending {
  ids: number[];
  logProb: number[];
  /** Characters told so far. */
  told: number;
}

/** An answer as server-sent events: one for each token that shows, a last one for each completion. */
export class EventStream {
  readonly #response: ServerResponse;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #format: AnswerFormat;
  readonly #texts: readonly (RolloutText | null)[];
  readonly #pending: Pending[];
  /** Whether a token shows by itself, whatever its text. */
  readonly #tokenwise: boolean;
  readonly #usage: null | undefined;

  constructor(
    response: ServerResponse,
    headers: Readonly<Record<string, string>>,
    format: AnswerFormat,
    { logprobs, tokenIds, includeUsage }: CompletionRequest,
    texts: readonly (RolloutText | null)[],
  ) {
    this.#response = response;
    this.#headers = headers;
    this.#format = format;
    this.#texts = texts;
    this.#pending = texts.map(() => ({ ids: [], logProb: [], told: 0 }));
    this.#tokenwise = logprobs || tokenIds;
    // OpenAI's events say null until the one that counts.
    this.#usage = includeUsage ? null : undefined;
  }

  token(rollout: number, token: number, logProb: number): void {
    const pending = this.#pending[rollout]!;
    pending.ids.push(token);
    pending.logProb.push(logProb);
    const text = this.#texts[rollout]?.take() ?? "";
    if (text !== "" || this.#tokenwise) this.#tell(rollout, text, null, null);
  }

  end(rollouts: readonly Trajectory[], usage: Usage | undefined): void {
    for (const [rollout, { finish, prompt }] of rollouts.entries()) {
      this.#tell(rollout, this.#texts[rollout]?.takeAll() ?? "", finish, prompt.tokens);
    }
    if (usage !== undefined) this.#send(this.#format.body([], usage));
    this.#response.end("data: [DONE]\n\n");
  }

  #tell(
    index: number,
    text: string,
    finish: AnswerChoice["finish"],
    promptIds: Int32Array | null,
  ): void {
    const pending = this.#pending[index]!;
    const { ids, logProb, told } = pending;
    const choice = { index, text, finish, ids, logProb, textOffset: told };
    const prompt = promptIds === null ? null : [...promptIds];
    this.#send(this.#format.body([{ ...choice, promptIds: prompt }], this.#usage));
    this.#pending[index] = { ids: [], logProb: [], told: told + text.length };
  }

  #send(body: object): void {
    if (!this.#response.headersSent) {
      this.#response.writeHead(200, {
        "content-type": "text/event-stream",
        "cache-control": "no-cache",
        ...this.#headers,
      });
    }
    this.#response.write(`data: ${JSON.stringify(body)}\n\n`);
    if (this.#response.writableLength > maxUnread) this.#response.destroy();
  }
}
