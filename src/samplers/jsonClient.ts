import { setTimeout as delay } from "node:timers/promises";
import pRetry from "p-retry";
import { throwIfAborted } from "../engine/checks.js";
import { FiresteelError } from "../engine/error.js";
import type { SettledOptions } from "./openaiOptions.js";

/** Bytes of an answer at most: what is longer is not one. */
const maxAnswerBytes = 2 ** 28;
/** Waiting times between attempts, in milliseconds. */
const wait = { first: 100, longest: 5_000, busy: 250 };
const tellEvery = 10_000;

/** Why an attempt came to nothing. */
class Failure extends Error {
  /** busy: nobody has looked at the request; bad: it was answered wrongly; final: it is no use. */
  readonly kind: "busy" | "bad" | "final";
  readonly retryAfterSeconds: number;

  constructor(kind: Failure["kind"], message: string, retryAfterSeconds = 0) {
    super(message);
    this.kind = kind;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** Throws with what is wrong where an answer is not what it should be. */
type AnswerReader<T> = (answer: unknown) => T;

/** Requests of JSON for JSON that survive a server's faults and restarts. */
export class JsonClient {
  readonly #options: SettledOptions;
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(options: SettledOptions) {
    this.#options = options;
  }

  /**
   * Asks until an answer can be read: an answer that comes after its time-out, is cut short or is not what it
   * should be counts for nothing.
   *
   * @param body null: GET
   * @throws FiresteelError ERR_SAMPLER naming the address, what was expected and what came; ERR_ABORTED
   */
  async ask<T>(
    path: string,
    body: object | null,
    expected: string,
    read: AnswerReader<T>,
    signal: AbortSignal | null,
  ): Promise<T> {
    const { url, retries, patienceSeconds } = this.#options;
    const begun = performance.now();
    let [attempts, bad] = [0, 0];
    const say = (failure: Failure) =>
      `Expected ${expected} from ${url}${path} but ${failure.message} (attempt ${attempts}, ` +
      `${((performance.now() - begun) / 1000).toFixed(1)} s)`;
    try {
      return await pRetry(
        async (attempt) => {
          attempts = attempt;
          return this.#attempt(path, body, read, signal);
        },
        {
          // Only bad answers count, and below: a server that cannot be reached has until patience ends.
          retries: Number.POSITIVE_INFINITY,
          minTimeout: wait.first,
          maxTimeout: wait.longest,
          maxRetryTime: patienceSeconds * 1000,
          signal: signal ?? undefined,
          shouldRetry({ error }) {
            if (!(error instanceof Failure) || error.kind === "final") return false;
            if (error.kind === "bad") bad += 1;
            return bad <= retries;
          },
          shouldConsumeRetry: ({ error }) => !(error instanceof Failure && error.kind === "busy"),
          onFailedAttempt: async ({ error }) => {
            if (!(error instanceof Failure) || error.kind === "final") return;
            this.#tell(say(error));
            if (error.kind !== "busy" && error.retryAfterSeconds === 0) return;
            const left = patienceSeconds * 1000 - (performance.now() - begun);
            const pause = Math.max(wait.busy, 1000 * error.retryAfterSeconds);
            await delay(Math.max(0, Math.min(pause, left)), undefined, {
              signal: signal ?? undefined,
            });
          },
        },
      );
    } catch (cause) {
      throwIfAborted(signal, "The request");
      if (!(cause instanceof Failure)) throw cause;
      throw new FiresteelError("ERR_SAMPLER", say(cause), { cause });
    }
  }

  async #attempt<T>(
    path: string,
    body: object | null,
    read: AnswerReader<T>,
    signal: AbortSignal | null,
  ): Promise<T> {
    const { url, apiKey, timeoutSeconds } = this.#options;
    const timeout = AbortSignal.timeout(Math.ceil(timeoutSeconds * 1000));
    let response: Response;
    try {
      response = await fetch(`${url}${path}`, {
        method: body === null ? "GET" : "POST",
        headers: {
          ...(body === null ? {} : { "content-type": "application/json" }),
          ...(apiKey === null ? {} : { authorization: `Bearer ${apiKey}` }),
        },
        body: body === null ? undefined : JSON.stringify(body),
        signal: signal === null ? timeout : AbortSignal.any([timeout, signal]),
        redirect: "error",
      });
    } catch (cause) {
      if (timeout.aborted) throw new Failure("bad", `nothing came in ${timeoutSeconds} s`);
      throw new Failure("busy", `it cannot be reached (${reasonOf(cause)})`);
    }
    let text: string;
    try {
      text = await readText(response);
    } catch (cause) {
      if (cause instanceof Failure) throw cause;
      if (timeout.aborted) throw new Failure("bad", `the answer took over ${timeoutSeconds} s`);
      throw new Failure("bad", `the answer broke off (${reasonOf(cause)})`);
    }
    if (!response.ok) throw refusalOf(response, text);
    let answer: unknown;
    try {
      answer = JSON.parse(text);
    } catch {
      throw new Failure("bad", `it is not JSON: ${excerpt(text)}`);
    }
    try {
      return read(answer);
    } catch (cause) {
      throw new Failure("bad", `${(cause as Error).message}: ${excerpt(text)}`);
    }
  }

  #tell(message: string): void {
    if (performance.now() - this.#toldAt < tellEvery) return;
    this.#toldAt = performance.now();
    this.#options.onRetry(message);
  }
}

async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > maxAnswerBytes) throw new Failure("bad", `it has over ${maxAnswerBytes} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function refusalOf({ status, headers }: Response, text: string): Failure {
  const message = `status ${status} came: ${excerpt(text)}`;
  const seconds = Number(headers.get("retry-after") ?? 0);
  const retryAfter = Number.isFinite(seconds) && seconds > 0 ? seconds : 0;
  if (status === 429 || status === 503) return new Failure("busy", message, retryAfter);
  // These may pass; every other fault of the request's would come again.
  const passing = status >= 500 || [408, 409, 422, 425].includes(status);
  return new Failure(passing ? "bad" : "final", message, retryAfter);
}

function reasonOf(error: unknown): string {
  const { cause, message } = error as Error;
  return cause instanceof Error ? cause.message || (cause as NodeJS.ErrnoException).code! : message;
}

function excerpt(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
