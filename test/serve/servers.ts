import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, request as httpRequest, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";

const main = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "dist", "cli", "main.js");

const running = new Set<{ stop(): Promise<unknown> }>();
afterAll(async () => {
  for (const server of running) await server.stop();
});

/** `firesteel serve` in a process of its own. */
export class ServerProcess {
  readonly url: string;
  readonly child: ChildProcess;
  /** What it has printed on stderr. */
  err = "";
  readonly exited: Promise<number | null>;

  private constructor(child: ChildProcess, url: string) {
    this.child = child;
    this.url = url;
    this.exited = new Promise((resolve) => child.once("close", resolve));
    child.stderr!.on("data", (data) => {
      this.err += data;
    });
    running.add(this);
  }

  static async start(args: readonly string[]): Promise<ServerProcess> {
    const all = [main, "serve", "--device", "cpu", "--port", "0", "--json", ...args];
    const child = spawn(process.execPath, all, { stdio: ["ignore", "pipe", "pipe"] });
    const [line] = await once(createInterface({ input: child.stdout }), "line");
    return new ServerProcess(child, JSON.parse(line).url);
  }

  async stop(signal: NodeJS.Signals = "SIGKILL"): Promise<number | null> {
    running.delete(this);
    this.child.kill(signal);
    return this.exited;
  }
}

/** What is done to a request on its way; "pass": nothing. */
export type Fault =
  | "pass"
  | "500"
  | "busy"
  | "html"
  | "not a number"
  | "a rollout too few"
  | "a rollout twice"
  | "cut body"
  | "cut connection"
  | "refuse"
  | "stall"
  | "late";

/** Stands between a client and a server, and does it harm. */
export class FaultyProxy {
  readonly #server: Server;
  readonly #target: () => string;
  readonly #next: (path: string) => Fault;
  /** Requests by what was done to them. */
  readonly counts = new Map<Fault, number>();

  private constructor(target: () => string, next: (path: string) => Fault) {
    this.#target = target;
    this.#next = next;
    this.#server = createServer((request, response) => {
      void this.#pass(request, response);
    });
  }

  /** @param next what to do to the next request of a path */
  static async start(target: () => string, next: (path: string) => Fault): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(target, next);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    running.add(proxy);
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    running.delete(this);
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #pass(request: IncomingMessage, response: import("node:http").ServerResponse) {
    const fault = this.#next(request.url!);
    this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
    const body = await readAll(request);
    if (fault === "refuse") {
      request.socket.destroy();
    } else if (fault === "500") {
      response.writeHead(500).end("out of order");
    } else if (fault === "busy") {
      response.writeHead(429, { "retry-after": "0.05" }).end();
    } else if (fault === "html") {
      response.writeHead(200).end("<html><body>Welcome to the proxy</body></html>");
    } else if (fault !== "stall") {
      const answer = await this.#forward(request, body);
      if (answer === null) {
        request.socket.destroy();
        return;
      }
      const { status, text } = answer;
      const harmed = harm(fault, text);
      if (fault === "late") {
        setTimeout(() => response.writeHead(status).end(text), 1000);
      } else if (fault === "cut body" || fault === "cut connection") {
        const half = text.slice(0, text.length / 2);
        if (fault === "cut body") return response.writeHead(status).end(half);
        response.writeHead(status, { "content-length": `${text.length}` });
        response.write(half, () => request.socket.destroy());
      } else {
        response.writeHead(status).end(harmed);
      }
    }
  }

  async #forward(
    { method, url, headers }: IncomingMessage,
    body: Buffer,
  ): Promise<{ status: number; text: string } | null> {
    const forwarded = httpRequest(`${this.#target()}${url}`, { method, headers });
    try {
      forwarded.end(body);
      const [answer] = (await once(forwarded, "response")) as [IncomingMessage];
      return { status: answer.statusCode!, text: (await readAll(answer)).toString() };
    } catch {
      return null;
    }
  }
}

/** A sound answer, spoilt. */
function harm(fault: Fault, text: string): string {
  const answer = text.startsWith('{"id":"cmpl-') ? JSON.parse(text) : null;
  if (answer === null) return text;
  const { choices } = answer;
  if (fault === "not a number") choices[0].logprobs.token_logprobs[0] = null;
  if (fault === "a rollout too few") choices.pop();
  if (fault === "a rollout twice") choices[1] = choices[0];
  return JSON.stringify(answer);
}

async function readAll(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}
