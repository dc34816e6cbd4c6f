import { cpSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { root } from "./build.mjs";
import { findingOf, reportIn, run } from "./execute.mjs";
import { instructionSets } from "./native.mjs";

const scenarios = ["engines", "memory", "workers", "end", "exit"];

/** A sanitizer's library, which a program that is not instrumented has to load first. */
function preloaded(library) {
  return run("g++", [`-print-file-name=${library}.so`]).output.trim();
}

/** A package around the tree's addon: the loader finds it as it finds any. */
function packageOf(tree) {
  const folder = join(tree, "package");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, "out", "Release"), { recursive: true });
  cpSync(join(root, "dist"), join(folder, "dist"), { recursive: true });
  cpSync(join(root, "package.json"), join(folder, "package.json"));
  const addon = join("out", "Release", "firesteel.node");
  symlinkSync(join(tree, "Release", "firesteel.node"), join(folder, addon));
  return join(folder, "dist");
}

/**
 * Those of LeakSanitizer's records whose memory our sources asked for, before any frame of Node: what
 * Node allocates for itself, also behind a call of ours, it keeps until the process is gone.
 */
function leaksOf(output) {
  return output.split(/\n\s*\n/).filter((record) => {
    const [ours, node] = [/\b(native|test\/sanitize)\//, /\/node\+0x/].map((p) => record.search(p));
    return / leak of /.test(record) && ours >= 0 && (node < 0 || ours < node);
  });
}

/**
 * The addon in a Node that is not instrumented: faults on purpose first, then every kernel family
 * against its reference on every instruction set, then engines in every way that they end.
 *
 * @param watch "asan" or "tsan"
 */
export function watchAddon(tree, watch, { progress }) {
  const result = { cases: 0, findings: [], skipped: [] };
  const env = {
    LD_PRELOAD: preloaded(watch === "asan" ? "libasan" : "libtsan"),
    ASAN_OPTIONS: "detect_stack_use_after_return=1",
    LSAN_OPTIONS: "exitcode=0",
    UBSAN_OPTIONS: "print_stacktrace=1",
    TSAN_OPTIONS: "ignore_noninstrumented_modules=1:halt_on_error=1:second_deadlock_stack=1",
    FIRESTEEL_DEVICE: "cpu",
  };
  // ThreadSanitizer keeps its shadow where a random layout may have put something else.
  const node = (args, more = {}) =>
    watch === "tsan"
      ? run("setarch", ["-R", process.execPath, ...args], { ...env, ...more })
      : run(process.execPath, args, { ...env, ...more });
  const judge = (where, ended) => {
    const leaks = leaksOf(ended.output);
    const finding = ended.status === 0 ? null : findingOf(ended);
    if (finding !== null) result.findings.push({ where, finding });
    for (const leak of leaks) result.findings.push({ where, finding: leak });
  };

  const planted = join(tree, "test", "sanitize", "planted_addon.node");
  const faults = watch === "asan" ? ["overrun", "leak"] : ["race"];
  for (const fault of faults) {
    progress(`planted ${fault}`);
    const { output } = node(["-e", `require(${JSON.stringify(planted)}).${fault}()`]);
    const seen =
      fault === "leak"
        ? leaksOf(output).length > 0
        : (reportIn(output) ?? "").includes(
            fault === "race" ? "data race" : "heap-buffer-overflow",
          );
    result.cases += 1;
    if (!seen) {
      result.findings.push({
        where: `planted_addon ${fault}`,
        finding: `not seen:\n${output.slice(0, 1000)}`,
      });
    }
  }

  const dist = packageOf(tree);
  const isas = watch === "asan" ? instructionSets() : instructionSets().slice(-1);
  for (const isa of isas) {
    progress(`verify ${isa}`);
    const args = [join(dist, "cli", "main.js"), "verify", "--device", "cpu", "--json"];
    const ended = node(args, { FIRESTEEL_ISA: isa });
    result.cases += Number(/"passed":(\d+)/.exec(ended.output)?.[1] ?? 0);
    judge(`verify ${isa}`, ended);
  }
  for (const scenario of scenarios) {
    progress(scenario);
    const script = join(import.meta.dirname, "lifecycle.mjs");
    const ended = node(["--expose-gc", script, dist, scenario]);
    result.cases += 1;
    judge(scenario, ended);
  }
  return result;
}
