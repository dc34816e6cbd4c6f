import type { ServerResponse } from "node:http";

/** OpenAI's kinds of error, by status. */
const types: Readonly<Record<number, string>> = {
  401: "authentication_error",
  403: "permission_error",
  429: "rate_limit_error",
};

interface RefusalDetails {
  /** Which parameter is to blame. */
  param?: string;
  /** Stable, for programs. */
  code: string;
  headers?: Readonly<Record<string, string>>;
}

/** A request that gets an error for an answer. Never leaves the server. */
export class Refusal extends Error {
  readonly status: number;
  readonly details: RefusalDetails;

  constructor(status: number, message: string, details: RefusalDetails) {
    super(message);
    this.status = status;
    this.details = details;
  }

  /** The body, in OpenAI's error format. */
  get body(): object {
    const { param = null, code } = this.details;
    const type =
      types[this.status] ?? (this.status < 500 ? "invalid_request_error" : "server_error");
    return { error: { message: this.message, type, param, code } };
  }
}

/** A parameter that the request should have given otherwise. */
export function badParameter(param: string, message: string, code = "invalid_value"): Refusal {
  return new Refusal(400, message, { param, code });
}

/** Try again later: after so many seconds. */
export function unavailable(code: string, message: string, seconds: number): Refusal {
  return new Refusal(503, message, { code, headers: { "retry-after": `${seconds}` } });
}

export function sendJson(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": `${Buffer.byteLength(text)}`,
    ...headers,
  });
  response.end(text);
}
