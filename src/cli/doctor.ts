import type { Command } from "commander";
import { foundGlibc, neededVersions } from "../engine/binaryFile.js";
import { driverLibrary, driverVersion } from "../engine/cudaTrial.js";
import { logProb } from "../engine/kernels/logProb.js";
import { type Attempt, type Backend, loadBackend, wantedDevice } from "../engine/loader.js";
import { Engine, FiresteelError, version } from "../index.js";
import { type Terminal, table } from "./terminal.js";

interface BackendReport {
  backend: Backend;
  /** What was tried, and why it does not serve (null: it does). */
  attempts: Attempt[];
  /** What would make it serve; empty where it does. */
  advice: string[];
  /** Newest versions of the C and C++ libraries that the loaded binary asks for (Linux). */
  needs: { glibc: string | null; libstdcxx: string | null } | null;
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
  const { attempts, advice } = loadBackend(backend);
  const loaded = attempts.find(({ reason }) => reason === null);
  const report: BackendReport = {
    backend,
    attempts,
    advice,
    needs: loaded === undefined ? null : neededVersions(loaded.path),
    device: null,
    threads: null,
    matmul: null,
    selfCheck: null,
  };
  if (loaded === undefined) return report;
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
      const backends = (["cpu", "cuda"] as const).map(examine);
      const wanted = wantedDevice();
      const usable = backends.filter(({ device }) => device !== null).at(-1);
      const report = {
        firesteel: version,
        node: process.version,
        platform: `${process.platform}-${process.arch}`,
        glibc: foundGlibc(),
        driver: { version: driverVersion(), library: driverLibrary() },
        default: wanted === "auto" ? (usable?.backend ?? null) : wanted,
        backends,
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

interface Report {
  firesteel: string;
  node: string;
  platform: string;
  /** Version of the C library; null where it is not glibc. */
  glibc: string | null;
  /** NVIDIA's driver: what the kernel runs, and the library that was found. */
  driver: { version: string | null; library: string | null };
  /** The device of a call that names none; null where there is no device at all. */
  default: Backend | null;
  backends: readonly BackendReport[];
}

function asText({ firesteel, node, platform, glibc, driver, backends, ...report }: Report): string {
  const forced = (process.env.FIRESTEEL_DEVICE || "auto") !== "auto";
  const rows = [
    ["firesteel", firesteel],
    ["node", `${node} on ${platform}${glibc === null ? "" : `, glibc ${glibc}`}`],
    ["driver", asWords(driver)],
    ["default", `${report.default ?? "no device"}${forced ? ", by FIRESTEEL_DEVICE" : ""}`],
  ];
  for (const { backend, device, threads, matmul, selfCheck: check, needs, ...of } of backends) {
    const used = `${device}, ${threads} threads, self-check ${check}`;
    rows.push([backend, device === null ? "not available" : used]);
    if (matmul !== null && matmul.detail !== "") {
      rows.push(["", `matmul: ${matmul.kernels}; ${matmul.detail}`]);
    }
    for (const { path, reason } of of.attempts) {
      const libraries = [
        ...(needs?.glibc ? [`glibc ${needs.glibc}`] : []),
        ...(needs?.libstdcxx ? [`GLIBCXX_${needs.libstdcxx}`] : []),
      ].join(" and ");
      const loaded = libraries === "" ? "loaded" : `loaded; needs ${libraries} or later`;
      rows.push(["", `${path}: ${reason ?? loaded}`]);
    }
    for (const step of of.advice) rows.push(["", `to do: ${step}`]);
  }
  return table(rows);
}

function asWords({ version, library }: Report["driver"]): string {
  if (library === null)
    return version === null ? "no NVIDIA driver" : `NVIDIA ${version}, but no libcuda.so.1`;
  return `NVIDIA ${version ?? "of unknown version"}, ${library}`;
}
