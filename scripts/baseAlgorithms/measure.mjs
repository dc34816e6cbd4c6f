// Runs every recipe that there is with every seed, two at a time, and puts the curves together.
import { fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { systems } from "../../dist/index.js";
import { budget } from "./recipes.mjs";

const workerFile = fileURLToPath(new URL("worker.mjs", import.meta.url));

/** All jobs through `count` processes; each answers one job at a time. */
async function through(jobs, count, onDone) {
  const queue = [...jobs];
  const results = [];
  const ask = (worker, job) =>
    new Promise((resolve, reject) => {
      const lost = (code) => reject(new Error(`the worker ended with ${code}`));
      worker.once("exit", lost);
      worker.once("message", (answer) => {
        worker.off("exit", lost);
        if (answer.error) reject(new Error(answer.error));
        else resolve(answer);
      });
      worker.send(job);
    });
  const workers = Array.from({ length: Math.min(count, jobs.length) }, () => fork(workerFile));
  try {
    await Promise.all(
      workers.map(async (worker) => {
        for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
          results.push(await ask(worker, job));
          onDone(job, results.length);
        }
      }),
    );
  } finally {
    for (const worker of workers) worker.kill();
  }
  return results;
}

/**
 * @param ids of systems that exist
 * @param onDone told of every run: (job, how many are done, how many there are)
 * @returns {{ machine, recipes }} by id: task, metric, steps, values and seconds by seed
 */
export async function measure(ids, workers, onDone) {
  const folder = mkdtempSync(join(tmpdir(), "firesteel-base-"));
  try {
    const pairs = (items) => items.flatMap((item) => budget.seeds.map((seed) => ({ item, seed })));
    const tasks = [...new Set(ids.map((id) => systems[id].task))];
    const warm = pairs(tasks).map(({ item, seed }) => ({ task: item, seed, folder, warm: true }));
    await through(warm, workers, () => {});
    const jobs = pairs(ids).map(({ item, seed }) => ({ id: item, seed, folder }));
    const answers = await through(jobs, workers, (job, n) => onDone(job, n, jobs.length));
    const runs = answers.map(({ run }) => run);
    const recipes = Object.fromEntries(
      ids.map((id) => {
        const own = runs.filter((run) => run.id === id).sort((a, b) => a.seed - b.seed);
        const [{ task, metric, steps }] = own;
        const values = own.map((run) => run.values.map((value) => Number(value.toFixed(4))));
        const seconds = own.map((run) => Number(run.seconds.toFixed(2)));
        const tokens = own.map((run) => run.tokens);
        return [id, { task, metric, steps, values, seconds, tokens }];
      }),
    );
    return { machine: { name: cpus()[0].model, node: process.version, workers }, recipes };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
