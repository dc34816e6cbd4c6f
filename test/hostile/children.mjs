/** Runs calls in child processes and sees from outside what a call does to its process. */
import { fork } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * @param options.calls how many, numbered from `first`
 * @param options.patience seconds that one call may take
 * @param options.children processes at once
 * @returns tallies by export, failures, crashes and hangs with the call that each was in
 */
export async function run({
  calls,
  seed = 1,
  first = 0,
  children = 2,
  only = null,
  device = "cpu",
  patience = 10,
  workerShare = 0.1,
  onProgress = () => {},
}) {
  const result = { tally: new Map(), failures: [], crashes: [], hangs: [], cut: 0, calls: 0 };
  const chunks = chunksOf(first, calls, children, workerShare);
  const folder = mkdtempSync(join(tmpdir(), "firesteel-hostile-"));
  const how = { seed, only, device, patience, folder };
  try {
    const inTurns = async (child) => {
      for (let chunk = chunks.shift(); chunk !== undefined; chunk = chunks.shift()) {
        await oneChunk({ ...how, ...chunk, child }, result, onProgress);
      }
    };
    await Promise.all(Array.from({ length: children }, (_, child) => inTurns(child)));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return result;
}

/** Calls cut into processes' lifetimes, some of which make them in workers. */
function chunksOf(first, calls, children, workerShare) {
  const size = Math.min(10_000, Math.ceil(calls / children));
  const every = workerShare > 0 ? Math.round(1 / workerShare) : 0;
  return Array.from({ length: Math.ceil(calls / size) }, (_, i) => {
    const from = first + i * size;
    const workers = every > 0 && calls > 1 && i % every === every - 1;
    return { from, to: Math.min(from + size, first + calls), workers };
  });
}

/** One chunk: a process that dies or hangs is replaced, and the next goes on after its call. */
async function oneChunk(job, result, onProgress) {
  let { from } = job;
  while (from < job.to) from = await oneChild({ ...job, from }, result, onProgress);
}

function oneChild(job, result, onProgress) {
  const folder = join(job.folder, `child${job.child}`);
  mkdirSync(folder, { recursive: true });
  const progress = join(folder, "progress");
  const threads = Float64Array.of(loading, job.workers ? loading : idle);
  writeFileSync(progress, new Uint8Array(threads.buffer));
  const child = fork(
    fileURLToPath(new URL("child.mjs", import.meta.url)),
    [JSON.stringify({ ...job, folder, progress })],
    {
      cwd: folder,
      execArgv: ["--no-warnings", "--expose-gc", "--max-old-space-size=1024"],
      serialization: "advanced",
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    },
  );
  let stderr = "";
  child.stderr.on("data", (data) => {
    stderr = (stderr + data).slice(-2000);
  });
  return new Promise((resolve) => {
    let finished = false;
    let hung = false;
    const reached = atIn(progress);
    const watch = watchdog(reached, job.patience, () => {
      hung = true;
      child.kill("SIGKILL");
    });
    child.on("message", (message) => {
      if (message.finished) finished = true;
      add(result, message);
      onProgress(result);
    });
    child.on("exit", (code, signal) => {
      clearInterval(watch);
      if (finished) return resolve(job.to);
      const within = reached().filter((call) => call >= 0);
      const what = { calls: within, code, signal, stderr: stderr.trim() };
      (hung ? result.hangs : result.crashes).push(what);
      resolve(Math.max(job.from, ...within) + 1);
    });
  });
}

function atIn(progress) {
  return () => {
    const bytes = readFileSync(progress);
    return [bytes.readDoubleLE(0), bytes.readDoubleLE(8)];
  };
}

/** What stands for the number of a call while a thread makes none. */
export const loading = -1;
export const idle = -2;

/** Seconds for a process or a worker to load its modules, on a machine that has other work too. */
const loadingPatience = 120;

/** Calls `act` where a thread of a process has been in one call for so many seconds. */
function watchdog(reached, patience, act) {
  const last = [];
  const since = [];
  return setInterval(() => {
    for (const [thread, now] of reached().entries()) {
      if (now !== last[thread]) since[thread] = performance.now();
      last[thread] = now;
      if (now === idle) continue;
      const allowed = now === loading ? loadingPatience : patience;
      if (performance.now() - since[thread] <= allowed * 1000) continue;
      since.fill(Infinity);
      act();
    }
  }, 250);
}

function add(result, { tally, failure, id, call, cut }) {
  if (failure !== undefined) result.failures.push({ failure, id, call });
  if (cut !== undefined) {
    result.cut += cut;
    result.calls += cut;
  }
  for (const [name, part] of tally ?? []) {
    const all = result.tally.get(name) ?? { calls: 0, outcomes: {}, slowest: 0, slowestCall: 0 };
    all.calls += part.calls;
    result.calls += part.calls;
    for (const [outcome, n] of Object.entries(part.outcomes)) {
      all.outcomes[outcome] = (all.outcomes[outcome] ?? 0) + n;
    }
    if (part.slowest > all.slowest)
      Object.assign(all, { slowest: part.slowest, slowestCall: part.slowestCall });
    result.tally.set(name, all);
  }
}
