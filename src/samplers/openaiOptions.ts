import { invalid } from "../engine/checks.js";
import { flag, integer, number } from "../options/option.js";
import { parseOptions } from "../options/parseOptions.js";

/** Where rollouts are asked for over HTTP, and what happens when that fails. */
export interface OpenAISamplerOptions {
  /** Of the server, e.g. "http://127.0.0.1:8000"; a path before /v1 is kept. */
  url: string;
  /** Default: the first that the server names. */
  model?: string;
  /**
   * Where weights are published for a `firesteel serve` on the same disk, started with this folder as its
   * --policy. Without it nothing refreshes the server's weights: see `allowStale`.
   */
  directory?: string;
  /** Sent as `Authorization: Bearer`. */
  apiKey?: string;
  /** Of one request, default 60, at most 300 (Node's own limit). */
  timeoutSeconds?: number;
  /** Bad answers and time-outs that one request may meet, default 8. */
  retries?: number;
  /** For how long one request is tried while the server cannot be reached or is busy, default 120. */
  patienceSeconds?: number;
  /** Requests at once, default 16. */
  concurrency?: number;
  /** Rollouts that are asked for at once, default 64; 1 for servers without `n`. */
  rolloutsPerRequest?: number;
  /**
   * Without `directory`: whether the server's weights may lie behind the run's, default false. A run's
   * `maxStaleness` can bound by how much.
   */
  allowStale?: boolean;
  /** Told what goes wrong meanwhile: at once, and then every ten seconds at most. */
  onRetry?: (message: string) => void;
}

const shape = {
  timeoutSeconds: number(60, { above: 0, max: 300 }, "of one request"),
  retries: integer(8, { min: 0, max: 1000 }, "bad answers that one request may meet"),
  patienceSeconds: number(120, { min: 0, max: 2 ** 21 }, "for a server that cannot be reached"),
  concurrency: integer(16, { min: 1, max: 1024 }, "requests at once"),
  rolloutsPerRequest: integer(64, { min: 1 }, "rollouts asked for at once"),
  allowStale: flag(false, "whether the server's weights may lie behind the run's"),
};

export type SettledOptions = Required<
  Pick<OpenAISamplerOptions, keyof typeof shape | "url" | "onRetry">
> & { model: string | null; directory: string | null; apiKey: string | null };

/** @throws FiresteelError ERR_OPTION */
export function settleOptions(options: OpenAISamplerOptions): SettledOptions {
  const { url, model, directory, apiKey, onRetry, ...rest } = options;
  const { values } = parseOptions("sampler", shape, rest, {
    inapplicable: {
      allowStale: () => (directory === undefined ? null : "directory keeps the weights current"),
    },
  });
  for (const [name, value] of Object.entries({ model, directory, apiKey })) {
    if (value === undefined || (typeof value === "string" && value !== "")) continue;
    throw invalid("ERR_OPTION", `sampler.${name}`, "a text", value);
  }
  if (onRetry !== undefined && typeof onRetry !== "function") {
    throw invalid("ERR_OPTION", "sampler.onRetry", "a function", onRetry);
  }
  return {
    ...values,
    url: baseUrl(url),
    model: model ?? null,
    directory: directory ?? null,
    apiKey: apiKey ?? null,
    onRetry: onRetry ?? (() => {}),
  };
}

/** Without /v1 and a slash at its end. */
function baseUrl(url: unknown): string {
  const parsed = typeof url === "string" && URL.canParse(url) ? new URL(url) : null;
  const plain = parsed !== null && /^https?:$/.test(parsed.protocol) && parsed.search === "";
  if (!plain || parsed.username !== "" || parsed.hash !== "") {
    throw invalid("ERR_OPTION", "sampler.url", "an http or https address", url);
  }
  return parsed.href.replace(/\/+$/, "").replace(/\/v1$/, "");
}
