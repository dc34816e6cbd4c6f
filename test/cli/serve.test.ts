import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { complete, newFolder, newPolicy, savedPolicy } from "../serve/client.js";
import { ServerProcess } from "../serve/servers.js";
import { firesteel } from "./terminal.js";

const endless = newPolicy(1, { maxLength: 4096 }, false);

test("an interrupt finishes what runs and ends well; the key comes from a file", async () => {
  const keyFile = join(await newFolder(), "key");
  await writeFile(keyFile, "secret\n");
  const args = ["--policy", await savedPolicy(endless), "--api-key-file", keyFile];
  const server = await ServerProcess.start(args);
  expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect((await complete(server, { prompt: [1] })).status).toBe(401);
  const headers = { "content-type": "application/json", authorization: "Bearer secret" };
  const body = { prompt: [1, 2], max_tokens: 2000, return_token_ids: true, stream: true };
  const response = await fetch(`${server.url}/v1/completions`, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  });
  const ended = server.stop("SIGINT");
  const text = await response.text();
  expect(text.split("\n\n").filter((event) => event.startsWith("data: {"))).toHaveLength(2001);
  expect(text).toContain("data: [DONE]");
  expect(await ended).toBe(0);
  expect(server.err).toBe("Finishing 1 requests; interrupt again to stop at once\n");
});

test("a second interrupt ends what runs with an error", async () => {
  const server = await ServerProcess.start(["--policy", await savedPolicy(endless)]);
  const body = { prompt: [1, 2], max_tokens: 4000, n: 20, stream: true, return_token_ids: true };
  const response = await fetch(`${server.url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  server.child.kill("SIGTERM");
  while (server.err === "") await new Promise((resolve) => setTimeout(resolve, 5));
  server.child.kill("SIGTERM");
  const last = (await response.text()).trimEnd().split("\n\n").at(-1)!;
  expect(JSON.parse(last.slice("data: ".length)).error.code).toBe("stopping");
  expect(await server.exited).toBe(1);
  expect(server.err).toContain("error: Stopped with requests unanswered");
});

test.each([
  [["serve"], 2, /--policy/],
  [
    ["serve", "--policy", "/nowhere"],
    1,
    /Expected a policy, a run or published weights in \/nowhere/,
  ],
  [["serve", "--policy", "/nowhere", "--port", "x"], 2, /--port/],
  [["serve", "--policy", "/nowhere", "--port", "70000"], 2, /serve\.port/],
  [["serve", "--policy", "/nowhere", "--api-key-file", "/no/key"], 2, /\/no\/key/],
  [["train", "--sampler-dir", "weights"], 2, /--sampler-url/],
  [["train", "--sampler-url", "nowhere"], 2, /sampler\.url/],
] as const)("%j ends with exit code %i and says why", async (args, code, message) => {
  const outcome = await firesteel([...args, ...(args[0] === "serve" ? ["--device", "cpu"] : [])]);
  expect(outcome.err).toMatch(message);
  expect(outcome.code).toBe(code);
});

test("train takes its rollouts from a server", async () => {
  const folder = await newFolder();
  const [config, weights, out] = ["config.json", "weights", "run"].map((name) =>
    join(folder, name),
  );
  const tiny = { warmStart: false, promptsPerStep: 2, numGenerations: 2, evalSamples: 1 };
  await writeFile(config!, JSON.stringify({ ...tiny, device: "cpu", steps: 1 }));
  const server = await ServerProcess.start(["--policy", weights!, "--wait"]);
  const sampler = ["--sampler-url", server.url, "--sampler-dir", weights!];
  const train = ["train", "--config", config!, "--json", "--out", out!];
  const outcome = await firesteel([...train, ...sampler]);
  expect([outcome.err, outcome.code]).toEqual(["", 0]);
  const { data } = JSON.parse(await (await fetch(`${server.url}/v1/models`)).text());
  expect(data[0].weight_version).toBeGreaterThan(0);
});

test("help shows examples", async () => {
  const { out, code } = await firesteel(["serve", "--help"]);
  expect(code).toBe(0);
  expect(out).toContain("firesteel serve --policy weights --wait");
});
