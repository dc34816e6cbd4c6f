import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { root } from "./build.mjs";
import { casesIn, findingOf, run } from "./execute.mjs";

const folder = join(root, "test", "native");

/** Works on 5 GB where it is asked to; a sanitizer would take a multiple of it. */
const elsewhere = new Set(["large"]);

/** The names of the native tests, of the CPU or of the emulated CUDA sources. */
export function testNames(emulated) {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".test.cc"))
    .map((name) => basename(name, ".test.cc"))
    .filter((name) => /^(cuda|emulator)/.test(name) === emulated && !elsewhere.has(name));
}

/** The instruction sets of this machine that the kernels are compiled for. */
export function instructionSets() {
  if (process.arch !== "x64") return ["neon"];
  const info = existsSync("/proc/cpuinfo") ? readFileSync("/proc/cpuinfo", "utf8") : "";
  const has = (...flags) => flags.every((flag) => new RegExp(`\\b${flag}\\b`).test(info));
  const avx2 = has("avx2", "fma", "f16c");
  const avx512 = avx2 && has("avx512f", "avx512bw", "avx512dq", "avx512vl");
  return ["sse2", ...(avx2 ? ["avx2"] : []), ...(avx512 ? ["avx512"] : [])];
}

/** Runs native tests of a tree: cases, findings, and what was skipped by whom. */
export function runTests(tree, names, { env = {}, emulator = [], progress }) {
  const result = { cases: 0, findings: [], skipped: [] };
  for (const name of names) {
    progress(name);
    const [program, ...args] = [...emulator, join(tree, "test", "native", `test_${name}`)];
    const ended = run(program, args, env, join(tree, "test", "native"));
    const { cases, skipped } = casesIn(ended.output);
    const finding = findingOf(ended);
    result.cases += cases;
    if (finding !== null) result.findings.push({ where: `test_${name}`, finding });
    else if (cases === 0) result.findings.push({ where: `test_${name}`, finding: "ran no case" });
    for (const reason of skipped) result.skipped.push(`test_${name}: ${reason}`);
  }
  return result;
}

/** Commits every planted fault of a program: those that no report named are findings. */
export function seePlanted(tree, kind, env) {
  const program = join(tree, "test", "sanitize", `planted_${kind}`);
  const listed = run(program, [], env).output.trim().split("\n");
  const findings = [];
  for (const line of listed) {
    const [name, expected] = line.split("\t");
    const { status, output } = run(program, [name], env);
    if (status === 0 || !output.includes(expected)) {
      findings.push({
        where: `planted_${kind} ${name}`,
        finding: `not seen: expected "${expected}"\n${output.slice(0, 1000)}`,
      });
    }
  }
  return { cases: listed.length, findings, skipped: [] };
}
