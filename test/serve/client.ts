import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createParser } from "eventsource-parser";
import { afterAll } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { CharTokenizer } from "../../src/policies/token/charTokenizer.js";
import { type TokenConfig, tinyConfig } from "../../src/policies/token/config.js";
import { TokenPolicy } from "../../src/policies/token/tokenPolicy.js";
import { type PolicyServer, type ServeOptions, serve } from "../../src/serve/serve.js";

export const engine = new Engine({ device: "cpu" });
export const tokenizer = new CharTokenizer("0123+=x");
const servers: PolicyServer[] = [];
const folders: string[] = [];
afterAll(async () => {
  for (const server of servers) await server.close();
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
  engine.dispose();
});

export async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "firesteel-serve-"));
  folders.push(folder);
  return folder;
}

export function newPolicy(seed = 1, config: Partial<TokenConfig> = {}, withTokenizer = true) {
  const whole = { ...tinyConfig(tokenizer.vocabularySize), initializerRange: 0.3, ...config };
  return TokenPolicy.create(engine, whole, { tokenizer: withTokenizer ? tokenizer : null, seed });
}

/** A folder called "tiny" that holds a policy. */
export async function savedPolicy(policy: TokenPolicy): Promise<string> {
  const folder = join(await newFolder(), "tiny");
  await mkdir(folder);
  await policy.save(folder);
  return folder;
}

/** A server of this process, stopped when the tests are over. */
export async function started(options: ServeOptions): Promise<PolicyServer> {
  const server = await serve({ port: 0, engine, ...options });
  servers.push(server);
  return server;
}

// biome-ignore lint/suspicious/noExplicitAny: answers are looked at field by field
type Json = any;

export interface Answer {
  status: number;
  headers: Headers;
  body: Json;
}

export async function post(
  { url }: { url: string },
  path: string,
  body: unknown,
  init: RequestInit = {},
): Promise<Answer> {
  const response = await fetch(`${url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
    ...init,
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

export function complete(server: { url: string }, body: object): Promise<Answer> {
  return post(server, "/v1/completions", body);
}

/** The events of a streamed answer, read by a parser of its own. */
export async function events(server: { url: string }, body: object): Promise<Json[]> {
  const response = await fetch(`${server.url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...body, stream: true }),
  });
  const found: Json[] = [];
  const parser = createParser({
    onEvent: ({ data }) => found.push(data === "[DONE]" ? data : JSON.parse(data)),
  });
  parser.feed(await response.text());
  return found;
}
