import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { plans } from "./plans.mjs";

const elsewhere = fileURLToPath(new URL("elsewhere.mjs", import.meta.url));

/**
 * Circumstances that must not change a bit of a run. Each is a function of the package, the name of a plan,
 * its steps and a folder, and leaves the run there.
 *
 * @param addons by name: the root of a copy of the package that loads this addon
 */
export function variants(steps, addons = {}) {
  const resumed = Array.from({ length: steps }, (_, step) => [
    `stopped after step ${step} and resumed`,
    async (firesteel, plan, out) => {
      const options = plans(firesteel)[plan];
      const stop = new AbortController();
      const onStep = (report) => report.step === step && stop.abort();
      await firesteel.train({ ...options, steps, out, onStep, signal: stop.signal });
      await firesteel.train({ resume: out, task: options.task, onWarning() {} });
    },
  ]);
  const killed = [
    `killed in step ${steps} and resumed`,
    async (firesteel, plan, out) => {
      const options = plans(firesteel)[plan];
      const onStep = (report) => {
        if (report.step === steps - 1) throw new Error("killed");
      };
      await firesteel.train({ ...options, steps, out, onStep }).catch((error) => {
        if (error.message !== "killed") throw error;
      });
      await firesteel.train({ resume: out, task: options.task, onWarning() {} });
    },
  ];
  return Object.fromEntries([
    ...[1, 2, 4].map((threads) => [`${threads} threads`, given({ threads }, steps)]),
    ...resumed,
    killed,
    ["checkpoints and evaluations as always, every report", given(reports, steps)],
    ["no reports, one checkpoint", given({ recordRollouts: 0, saveSteps: steps }, steps)],
    ["a small memoryLimit", limited(steps)],
    ["a worker thread", elsewhereIn("worker", undefined, steps)],
    ...Object.entries(addons).map(([name, root]) => [name, elsewhereIn("process", root, steps)]),
  ]);
}

const reports = { tensorboard: true, report: true, recordRollouts: 4, keepCheckpoints: 3 };

function given(options, steps) {
  return (firesteel, plan, out) =>
    firesteel.train({ ...plans(firesteel)[plan], ...options, steps, out });
}

/** 96 MiB, of which these runs take a part. */
function limited(steps) {
  return async (firesteel, plan, out) => {
    const engine = new firesteel.Engine({ device: "cpu", memoryLimit: 96 * 2 ** 20 });
    const { device: _, ...options } = plans(firesteel)[plan];
    try {
      await firesteel.train({ ...options, engine, steps, out });
    } finally {
      engine.dispose();
    }
  };
}

/** The same run in a worker thread, or in a process with another copy of the package. */
function elsewhereIn(place, root, steps) {
  return async (_, plan, out) => {
    const job = JSON.stringify({ root, plan, steps, out });
    if (place === "worker") {
      const worker = new Worker(elsewhere, { argv: [job] });
      const [code] = await once(worker, "exit");
      if (code !== 0) throw new Error(`the worker thread ended with ${code}`);
      return;
    }
    const child = fork(elsewhere, [job], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
    const [code] = await once(child, "exit");
    if (code !== 0) throw new Error(`the process with ${join(root, "dist")} ended with ${code}`);
  };
}
