import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { PhaseReport, Trajectory } from "../../src/contract/index.js";
import { type TrainOptions, train } from "../../src/train.js";
import { temporaryFolder } from "../folders.js";
import { metricsOf, small, weightsOf } from "../trainer/runs.js";
import { type Fault, FaultyProxy, ServerProcess } from "./servers.js";

const settings: TrainOptions = { ...small, steps: 5, evalSteps: 3 };

/** The rollouts of a run, step by step, without what differs between processes. */
function recorder(): { rollouts: Trajectory[]; callbacks: TrainOptions["callbacks"] } {
  const rollouts: Trajectory[] = [];
  const phase = ({ groups }: PhaseReport) => {
    rollouts.push(...groups.flatMap((group) => group.trajectories));
  };
  return { rollouts, callbacks: [{ phase }] };
}

/** What every completion request meets, over and over. */
const faults: readonly Fault[] = [
  ...(["pass", "500", "pass", "html", "pass", "not a number", "refuse", "pass"] as const),
  ...(["a rollout too few", "pass", "cut body", "pass", "a rollout twice", "pass"] as const),
  ...(["cut connection", "pass", "busy", "pass", "pass", "pass"] as const),
];

test("a run whose rollouts come over a faulty line from a server that is killed is the run at home", async () => {
  const folder = await temporaryFolder();
  const [home, away, weights] = ["home", "away", "weights"].map((name) => join(folder, name));
  const here = recorder();
  await train({ ...settings, callbacks: here.callbacks, out: home });

  const start = () => ServerProcess.start(["--policy", weights!, "--wait"]);
  let server = await start();
  let restarts = Promise.resolve();
  const restart = async () => {
    await server.stop("SIGKILL");
    server = await start();
  };
  let [asked, loads] = [0, 0];
  const proxy = await FaultyProxy.start(
    () => server.url,
    (path) => {
      if (path === "/v1/weights") return ++loads % 2 === 0 ? "pass" : "500";
      if (path !== "/v1/completions") return "pass";
      asked += 1;
      if (asked === 25 || asked === 65) restarts = restarts.then(restart);
      if (asked === 40) return "stall";
      if (asked === 75) return "late";
      return faults[asked % faults.length]!;
    },
  );
  const there = recorder();
  await train({
    ...settings,
    callbacks: there.callbacks,
    out: away,
    sampler: {
      ...{ url: proxy.url, directory: weights!, rolloutsPerRequest: 2 },
      ...{ timeoutSeconds: 0.7, retries: 20 },
    },
    onWarning: () => {},
  });
  await restarts;

  for (const fault of [...faults, "stall", "late"] as const) {
    expect(proxy.counts.get(fault), fault).toBeGreaterThan(0);
  }
  // Every rollout once, in its place: tokens, log-probs, texts, rewards and the weights' versions.
  expect(there.rollouts).toHaveLength(5 * 16);
  expect(there.rollouts).toEqual(here.rollouts);
  expect(await metricsOf(away!)).toEqual(await metricsOf(home!));
  expect(weightsOf(away!, 5)).toEqual(weightsOf(home!, 5));
});

test("a run over HTTP goes on where it was, against a server that has seen later weights", async () => {
  const folder = await temporaryFolder();
  const [home, away, weights] = ["home", "away", "weights"].map((name) => join(folder, name));
  await train({ ...settings, warmStart: false, out: home });

  const server = await ServerProcess.start(["--policy", weights!, "--wait"]);
  const sampler = { url: server.url, directory: weights! };
  await train({ ...settings, warmStart: false, steps: 3, out: away, sampler });
  // The step that the checkpoint has not seen: its weights lie with the server.
  const pointer = JSON.parse(await readFile(join(weights!, "weights.json"), "utf8"));
  expect(pointer.version).toBeGreaterThan(0);
  await train({ resume: away, task: settings.task, steps: 5, sampler });
  expect(weightsOf(away!, 5)).toEqual(weightsOf(home!, 5));
  expect(await server.stop("SIGTERM")).toBe(0);
});
