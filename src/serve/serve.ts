import { basename, resolve } from "node:path";
import { anObject, checkArguments } from "../engine/arguments.js";
import { checkBoolean, invalid } from "../engine/checks.js";
import { Engine } from "../engine/engine.js";
import { checkPlacement, type Placement } from "../engine/placement.js";
import { integer, number } from "../options/option.js";
import { parseOptions } from "../options/parseOptions.js";
import { checkPolicy, findPolicy } from "../policies/policyFolder.js";
import { publishedWeights } from "../weights/publishedWeights.js";
import { Completions } from "./completions.js";
import { otherRoutes } from "./routes.js";
import { WeightStore } from "./servedWeights.js";
import { HttpServer, type Routes } from "./server.js";

/** What `serve` takes; without an engine the server has its own. */
export interface ServeOptions extends Placement {
  /**
   * A folder with a policy, a run's folder (its best checkpoint, else its newest), or one into which
   * weights are published (`publishWeights`).
   */
  policy: string;
  /** Come up although nothing has been published yet; completions are refused until then. Default false. */
  wait?: boolean;
  /** Default "127.0.0.1": this machine alone. */
  host?: string;
  /** Default 8000; 0: any that is free. */
  port?: number;
  /** Asked for in `Authorization: Bearer`; default: none. */
  apiKey?: string;
  /** Requests that run or wait at once, default 1024; more are answered with 429. */
  maxConcurrent?: number;
  /** Completions that are sampled together, and of one request at most; default 256. */
  maxBatch?: number;
  /** Tokens that one request may ask for, completions times their length; default 262,144. */
  maxTokens?: number;
  /** Of a request's body, default 8 MiB. */
  maxBodyBytes?: number;
  /** Of a whole request, default 600. */
  timeoutSeconds?: number;
  /** Told of failures that are no client's fault; default: a warning of the process. */
  onError?: (error: unknown) => void;
}

const limits = {
  port: integer(8000, { min: 0, max: 65535 }, "0: any that is free"),
  maxConcurrent: integer(1024, { min: 1 }, "requests that run or wait at once"),
  maxBatch: integer(256, { min: 1, max: 2 ** 16 }, "completions that are sampled together"),
  maxTokens: integer(2 ** 18, { min: 1 }, "tokens that one request may ask for"),
  maxBodyBytes: integer(2 ** 23, { min: 1, max: 2 ** 30 }, "of a request's body"),
  timeoutSeconds: number(600, { above: 0, max: 2 ** 21 }, "of a whole request"),
};

/** A server that runs. */
export interface PolicyServer {
  readonly url: string;
  /** Whose policy or published weights it serves. */
  readonly directory: string;
  /** Of the weights that new requests get; null: there are none yet. */
  readonly version: number | null;
  /** Requests that are being answered. */
  readonly active: number;
  /** Refuses new requests, finishes those that run, and frees everything. */
  close(): Promise<void>;
  /** Ends what is being sampled with an error; for a `close` that takes too long. */
  abort(): void;
}

/**
 * Serves a policy over HTTP as OpenAI's completions: what `firesteel serve` runs. See docs/serve.md.
 *
 * @throws FiresteelError ERR_OPTION, ERR_CHECKPOINT where there is no policy or it is damaged, ERR_NO_DEVICE
 * @example
 * const server = await serve({ policy: "runs/first/checkpoint-50/policy", port: 0 });
 * await fetch(`${server.url}/v1/completions`, { method: "POST", ... });
 * await server.close();
 */
export async function serve(options: ServeOptions): Promise<PolicyServer> {
  checkArguments({ options }, { options: anObject });
  const { policy, wait = false, host = "127.0.0.1", apiKey, engine, device, threads } = options;
  const { onError = (error) => process.emitWarning(error as Error), ...rest } = options;
  const numbers = { ...rest } as Record<string, unknown>;
  for (const name of ["policy", "wait", "host", "apiKey", "engine", "device", "threads"]) {
    delete numbers[name];
  }
  const { values } = parseOptions("serve", limits, numbers);
  for (const [name, value] of Object.entries({
    policy,
    host,
    ...(apiKey !== undefined && { apiKey }),
  })) {
    if (typeof value !== "string" || value === "")
      throw invalid("ERR_OPTION", name, "a text", value);
  }
  checkBoolean("wait", wait);
  checkPlacement(options);

  const directory = (await publishedWeights(policy)) === null ? await findPolicy(policy) : null;
  if (directory !== null) await checkPolicy(directory);
  const theEngine = engine ?? new Engine({ device, threads });
  const store = new WeightStore(theEngine, directory ?? policy);
  const stop = new AbortController();
  const free = async () => {
    await store.dispose();
    if (engine === undefined) theEngine.dispose();
  };
  try {
    await store.load();
    if (!wait) store.requireCurrent();
    const model = basename(resolve(policy));
    const completions = new Completions(
      store,
      model,
      { ...values, maxCompletions: values.maxBatch },
      stop.signal,
    );
    const routes: Routes = {
      "/v1/completions": { POST: completions.answer.bind(completions) },
      ...otherRoutes(store, model, values.maxBodyBytes),
    };
    const server = new HttpServer(routes, {
      host,
      port: values.port,
      apiKey: apiKey ?? null,
      timeoutSeconds: values.timeoutSeconds,
      onError,
    });
    const url = await server.listen();
    let closed: Promise<void> | null = null;
    const close = async () => {
      await server.close();
      await completions.idle();
      await free();
    };
    return {
      url,
      directory: store.directory,
      get version() {
        return store.current?.version ?? null;
      },
      get active() {
        return server.active;
      },
      close: () => {
        closed ??= close();
        return closed;
      },
      abort: () => stop.abort(),
    };
  } catch (error) {
    await free();
    throw error;
  }
}
