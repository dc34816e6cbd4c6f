import type { Command } from "commander";
import { logProb } from "../engine/kernels/logProb.js";
import { type Attempt, type Backend, loadBackend } from "../engine/loader.js";
import { Engine, FiresteelError, version } from "../index.js";
import { type Terminal, table } from "./terminal.js";

interface BackendReport {
  backend: Backend;
  /** What was tried, and why it does not serve (null: it does). */
  attempts: Attempt[];
  /** Where the kernels would run; null where the backend cannot be used. */
  device: string | null;
  threads: number | null;
  /** What multiplies 16-bit matrices there, and which library that is or why it is not used. */
  matmul: { kernels: "own" | "cublas"; detail: string } | null;
  selfCheck: "passed" | "failed" | null;
}

/** Equal logits have the same log-prob whatever they are: -log V. */
function selfCheck(engine: Engine): boolean {
  const vocabulary = 37;
  const logits = engine.tensor(new Float32Array(2 * vocabulary).fill(3), [2, vocabulary]);
  const { logProb: values, entropy } = logProb(engine, logits, [0, 36], { entropy: true });
  const near = (value: number, exact: number) => Math.abs(value - exact) < 1e-5;
  return (
    values.readSync().every((value) => near(value, -Math.log(vocabulary))) &&
    entropy!.readSync().every((value) => near(value, Math.log(vocabulary)))
  );
}

function examine(backend: Backend): BackendReport {
  const { attempts } = loadBackend(backend);
  const report: BackendReport = {
    backend,
    attempts,
    device: null,
    threads: null,
    matmul: null,
    selfCheck: null,
  };
  if (attempts.every(({ reason }) => reason !== null)) return report;
  const engine = new Engine({ device: backend });
  try {
    const { name, threads, matmul, matmulDetail } = engine.info;
    const passed = engine.scope(() => selfCheck(engine));
    return {
      ...report,
      device: name,
      threads,
      matmul: { kernels: matmul, detail: matmulDetail },
      selfCheck: passed ? "passed" : "failed",
    };
  } finally {
    engine.dispose();
  }
}

export function registerDoctor(program: Command, terminal: Terminal): void {
  program
    .command("doctor")
    .description("what firesteel finds on this machine, and whether its kernels work")
    .option("--json", "the same as an object")
    .addHelpText("after", "\nExamples:\n  firesteel doctor\n  firesteel doctor --json")
    .action(({ json }: { json?: true }) => {
      const report = {
        firesteel: version,
        node: process.version,
        platform: `${process.platform}-${process.arch}`,
        backends: (["cpu", "cuda"] as const).map(examine),
      };
      if (json) terminal.out(`${JSON.stringify(report)}\n`);
      else terminal.out(asText(report));
      const broken = report.backends.find(({ selfCheck: check }) => check === "failed");
      if (broken !== undefined) {
        const message = `The kernels of backend ${broken.backend} give wrong numbers on this machine`;
        throw new FiresteelError("ERR_NO_DEVICE", message);
      }
      if (report.backends.every(({ device }) => device === null)) {
        throw new FiresteelError("ERR_NO_DEVICE", "No backend can be used; see above for why");
      }
    });
}

function asText(report: {
  firesteel: string;
  node: string;
  platform: string;
  backends: readonly BackendReport[];
}): string {
  const rows = [
    ["firesteel", report.firesteel],
    ["node", `${report.node} on ${report.platform}`],
  ];
  for (const { backend, attempts, device, threads, matmul, selfCheck: check } of report.backends) {
    const used = `${device}, ${threads} threads, self-check ${check}`;
    rows.push([backend, device === null ? "not available" : used]);
    if (matmul !== null && matmul.detail !== "") {
      rows.push(["", `matmul: ${matmul.kernels}; ${matmul.detail}`]);
    }
    for (const { path, reason } of attempts) rows.push(["", `${path}: ${reason ?? "loaded"}`]);
  }
  return table(rows);
}
