import { existsSync } from "node:fs";
import { join } from "node:path";
import { watchAddon } from "./addon.mjs";
import { build, doctestAlone, doctestFolder, installed, root } from "./build.mjs";
import { instructionSets, runTests, seePlanted, testNames } from "./native.mjs";

const addressFlags = "address,undefined,float-cast-overflow";
const addressEnv = {
  ASAN_OPTIONS: "detect_stack_use_after_return=1",
  UBSAN_OPTIONS: "print_stacktrace=1",
};
const threadEnv = { TSAN_OPTIONS: "halt_on_error=1:second_deadlock_stack=1" };

/** In the short form: the runtime, the emulator, and one small kernel family. */
const family = "kl";
const tests = (names) => names.map((name) => `test_${name}`);
const trees = (short) => (short ? { FIRESTEEL_FAMILIES: `kernels/${family}` } : {});
const treeName = (name, short) => (short ? `${name}-short` : name);

function noNativeTests() {
  if (!installed("cmake")) return "cmake is not installed";
  if (doctestFolder() === null) return "doctest is not installed (Debian: doctest-dev)";
  return null;
}

function noAddon({ short }) {
  if (short) return "only in the long form";
  if (!existsSync(join(root, "dist", "index.js"))) return "dist is not built (npm run build:ts)";
  return installed("cmake") ? null : "cmake is not installed";
}

function noCross() {
  if (!installed("aarch64-linux-gnu-g++")) {
    return "no cross compiler (Debian: g++-aarch64-linux-gnu)";
  }
  return noNativeTests();
}

/**
 * What is run, in order. `missing` tells why a stage cannot run here; `run` returns its cases,
 * findings ({where, finding}) and what its tests skipped.
 */
export const stages = [
  {
    name: "asan",
    what: "CPU native tests under ASan and UBSan",
    missing: noNativeTests,
    run({ short, jobs, progress }) {
      const names = short ? [family] : testNames(false);
      progress("building");
      const options = { FIRESTEEL_SANITIZE: addressFlags, ...trees(short) };
      const targets = ["planted_address", ...tests(names)];
      const tree = build(treeName("asan", short), options, targets, jobs);
      const planted = seePlanted(tree, "address", addressEnv);
      const runs = instructionSets().map((isa) =>
        runTests(tree, names, {
          env: { ...addressEnv, FIRESTEEL_ISA: isa },
          progress: (name) => progress(`${isa} ${name}`),
        }),
      );
      return sum([planted, ...runs]);
    },
  },
  {
    name: "emulated",
    what: "CUDA sources on the emulator under ASan and UBSan",
    missing: noNativeTests,
    run({ short, jobs, progress }) {
      const names = short ? ["emulator", `cuda_${family}`] : testNames(true);
      progress("building");
      const options = { FIRESTEEL_SANITIZE: addressFlags, ...trees(short) };
      const targets = ["planted_emulated", ...tests(names)];
      const tree = build(treeName("asan", short), options, targets, jobs);
      // A stack of frames apart for each of a launch's threads costs ten times the rest.
      const env = short ? { ...addressEnv, ASAN_OPTIONS: "" } : addressEnv;
      return sum([
        seePlanted(tree, "emulated", addressEnv),
        runTests(tree, names, { env, progress }),
      ]);
    },
  },
  {
    name: "tsan",
    what: "stream, thread pool and memory under TSan",
    missing: noNativeTests,
    run({ short, jobs, stress, progress }) {
      const names = ["stream", "stress"];
      progress("building");
      const options = { FIRESTEEL_SANITIZE: "thread", ...trees(short) };
      const targets = ["planted_thread", ...tests(names)];
      const tree = build(treeName("tsan", short), options, targets, jobs);
      const env = { ...threadEnv, FIRESTEEL_STRESS: `${stress}` };
      return sum([seePlanted(tree, "thread", threadEnv), runTests(tree, names, { env, progress })]);
    },
  },
  {
    name: "addon",
    what: "the CPU addon in Node under ASan and UBSan, then under TSan",
    missing: noAddon,
    run({ short, jobs, progress }) {
      const targets = ["firesteel", "planted_addon"];
      const watched = [
        ["asan", addressFlags],
        ["tsan", "thread"],
      ].map(([watch, flags]) => {
        progress(`building for ${watch}`);
        const tree = build(treeName(watch, short), { FIRESTEEL_SANITIZE: flags }, targets, jobs);
        return watchAddon(tree, watch, { progress: (what) => progress(`${watch} ${what}`) });
      });
      return sum(watched);
    },
  },
  {
    name: "neon",
    what: "CPU native tests for aarch64, under QEMU",
    missing: noCross,
    run({ short, jobs, progress }) {
      const names = short ? [family] : testNames(false);
      progress("building");
      const options = {
        CMAKE_TOOLCHAIN_FILE: join(import.meta.dirname, "aarch64.cmake"),
        doctest_folder: doctestAlone(treeName("neon", short)),
        ...trees(short),
      };
      const tree = build(treeName("neon", short), options, tests(names), jobs);
      const emulator = "qemu-aarch64-static";
      if (!installed(emulator)) {
        return { cases: 0, findings: [], skipped: [`compiled only: no ${emulator}`] };
      }
      return runTests(tree, names, { emulator: [emulator], progress });
    },
  },
];

function sum(results) {
  return {
    cases: results.reduce((total, { cases }) => total + cases, 0),
    findings: results.flatMap(({ findings }) => findings),
    skipped: [...new Set(results.flatMap(({ skipped }) => skipped))],
  };
}

/** Runs one stage; what keeps it from being built or run is a finding too. */
export function runStage(stage, settings) {
  const { name, what } = stage;
  const started = performance.now();
  const missing = stage.missing(settings);
  if (missing !== null) {
    return { name, what, ran: false, cases: 0, seconds: 0, findings: [], skipped: [missing] };
  }
  let result;
  try {
    result = stage.run(settings);
  } catch (error) {
    result = { cases: 0, findings: [{ where: name, finding: error.message }], skipped: [] };
  }
  const seconds = Math.round((performance.now() - started) / 1000);
  return { name, what, ran: true, seconds, ...result };
}
