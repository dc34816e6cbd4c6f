import { timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { FiresteelError } from "../engine/error.js";
import { Refusal, sendJson, unavailable } from "./refusal.js";

/** Answers one kind of request. `signal` aborts when nobody waits for the answer any more. */
type Handler = (
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
) => void | Promise<void>;

/** By path, then by method. */
export type Routes = Readonly<Record<string, Readonly<Record<string, Handler>>>>;

interface ServerOptions {
  readonly host: string;
  readonly port: number;
  /** Asked of every request but health checks. */
  readonly apiKey: string | null;
  /** Of a whole request, its answer included. */
  readonly timeoutSeconds: number;
  /** Told of what is no client's fault. */
  readonly onError: (error: unknown) => void;
}

/** Clients that dawdle lose their connection: milliseconds. */
const patience = { headers: 10_000, body: 30_000, keepAlive: 5_000, overtime: 5_000 };
const maxConnections = 4096;

/** An HTTP server that finishes what it has begun. */
export class HttpServer {
  readonly #options: ServerOptions;
  readonly #routes: Routes;
  readonly #server: Server;
  readonly #active = new Set<Promise<void>>();
  #closing = false;

  constructor(routes: Routes, options: ServerOptions) {
    this.#routes = routes;
    this.#options = options;
    this.#server = createServer(
      {
        headersTimeout: patience.headers,
        requestTimeout: patience.body,
        keepAliveTimeout: patience.keepAlive,
      },
      (request, response) => {
        const handled = this.#handle(request, response).finally(() => this.#active.delete(handled));
        this.#active.add(handled);
      },
    );
    this.#server.maxConnections = maxConnections;
  }

  /** Requests that are being answered. */
  get active(): number {
    return this.#active.size;
  }

  /** @throws FiresteelError ERR_OPTION where the address cannot be had */
  async listen(): Promise<string> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", (cause) => {
        const message = `Expected a free address but ${host}:${port}: ${cause.message}`;
        reject(new FiresteelError("ERR_OPTION", message, { cause }));
      });
      this.#server.listen(port, host, resolve);
    });
    const { address, family, port: bound } = this.#server.address() as AddressInfo;
    return `http://${family === "IPv6" ? `[${address}]` : address}:${bound}`;
  }

  /** Refuses new requests and resolves when the last one has its answer. */
  async close(): Promise<void> {
    this.#closing = true;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    while (this.#active.size > 0) await Promise.all(this.#active);
    this.#server.closeAllConnections();
    await closed;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    const { timeoutSeconds } = this.#options;
    let timer = setTimeout(() => {
      const message = `The answer took more than ${timeoutSeconds} seconds`;
      gone.abort(new Refusal(504, message, { code: "timeout" }));
      // A client that does not read its answer goes, too.
      timer = setTimeout(() => response.destroy(), patience.overtime);
    }, timeoutSeconds * 1000);
    const ended = new Promise<void>((resolve) => {
      response.once("close", () => {
        clearTimeout(timer);
        gone.abort();
        resolve();
      });
    });
    try {
      await this.#route(request, response, gone.signal);
    } catch (error) {
      this.#answerError(response, error);
    }
    await ended;
  }

  async #route(request: IncomingMessage, response: ServerResponse, signal: AbortSignal) {
    if (this.#closing) {
      response.setHeader("connection", "close");
      throw unavailable("stopping", "The server is stopping", 1);
    }
    const path = (request.url ?? "/").split("?")[0]!;
    this.#admit(request, path);
    const methods = Object.hasOwn(this.#routes, path) ? this.#routes[path]! : undefined;
    if (methods === undefined) {
      const known = Object.keys(this.#routes).join(", ");
      throw new Refusal(404, `Expected one of ${known} but received ${path}`, { code: "no_path" });
    }
    const method = request.method ?? "";
    if (!Object.hasOwn(methods, method)) {
      const allow = Object.keys(methods).join(", ");
      const message = `Expected ${allow} for ${path} but received ${method}`;
      throw new Refusal(405, message, { code: "no_method", headers: { allow } });
    }
    await methods[method]!(request, response, signal);
  }

  #admit({ headers }: IncomingMessage, path: string): void {
    const { apiKey, host } = this.#options;
    // A page in a browser must not reach a local server under a name of its own (DNS rebinding).
    if (isLoopback(host) && !isLoopback(hostName(headers.host))) {
      const message = `Expected a local name in the Host header but received ${headers.host}`;
      throw new Refusal(403, message, { code: "foreign_host" });
    }
    if (apiKey === null || path === "/health") return;
    const given = Buffer.from(headers.authorization ?? "");
    const wanted = Buffer.from(`Bearer ${apiKey}`);
    if (given.length === wanted.length && timingSafeEqual(given, wanted)) return;
    const details = { code: "invalid_api_key", headers: { "www-authenticate": "Bearer" } };
    throw new Refusal(401, "Expected this server's key in Authorization: Bearer", details);
  }

  #answerError(response: ServerResponse, error: unknown): void {
    if (response.destroyed) return;
    const refusal = error instanceof Refusal ? error : this.#fault(error);
    if (response.headersSent) {
      response.end(`data: ${JSON.stringify(refusal.body)}\n\n`);
      return;
    }
    sendJson(response, refusal.status, refusal.body, refusal.details.headers);
  }

  #fault(error: unknown): Refusal {
    const code = error instanceof FiresteelError ? error.code : null;
    if (code === "ERR_ABORTED") return unavailable("stopping", "The server is stopping", 1);
    this.#options.onError(error);
    if (code === "ERR_OUT_OF_MEMORY") {
      return unavailable("out_of_memory", "Not enough memory for this request now", 5);
    }
    return new Refusal(500, "The server failed; its log says why", { code: "internal_error" });
  }
}

export function isLoopback(host: string | undefined): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host ?? "");
}

/** The name in a Host header, without port and brackets. */
function hostName(header: string | undefined): string | undefined {
  return /^(?:\[([^\]]+)\]|([^:]+))(?::\d+)?$/
    .exec(header ?? "")
    ?.slice(1)
    .find(Boolean);
}
