// docs/performance.md and docs/scaling.md from results: what stands between the markers.
import { cpuTargets, cudaTargets } from "./targets.mjs";

const cell = (text) => String(text).replaceAll("|", "\\|");
const row = (cells) => `| ${cells.map(cell).join(" | ")} |`;

export function table(head, rows, right = []) {
  const rule = head.map((_, i) => (right.includes(i) ? "---:" : "---"));
  return [row(head), `|${rule.join("|")}|`, ...rows.map(row)].join("\n");
}

/** Three digits. */
export function digits(value) {
  const rounded = Number(value.toPrecision(3));
  return rounded >= 1000 ? rounded.toLocaleString("en-US") : String(rounded);
}

export function milliseconds(ms) {
  return ms < 0.1 ? `${digits(1000 * ms)} us` : `${digits(ms)} ms`;
}

const percent = (share) => `${(100 * share).toFixed(0)}%`;
const mib = (bytes) => `${digits(bytes / 2 ** 20)} MiB`;

function rateOf(r) {
  if (r.tokensPerS) return `${digits(r.tokensPerS)} tokens/s`;
  return r.ceiling === "gemm" ? `${digits(r.gflopPerS)} GFLOP/s` : `${digits(r.gbPerS)} GB/s`;
}

function peersOf(peers) {
  return Object.entries(peers)
    .sort(([, a], [, b]) => (a.ratio ?? Infinity) - (b.ratio ?? Infinity))
    .map(([name, { ratio, reason }]) => `${name} ${ratio === null ? `(${reason})` : digits(ratio)}`)
    .join(", ");
}

export function resultsTable(results) {
  const rows = results.map((r) => [
    r.kernel,
    r.dtype,
    r.shape.join(" x "),
    `${milliseconds(r.medianMs)} (${milliseconds(r.p20Ms)} to ${milliseconds(r.p80Ms)})`,
    rateOf(r),
    r.ofPeak === null ? "" : `${percent(r.ofPeak)} of ${r.ceiling}`,
    mib(r.peakMemoryBytes),
    peersOf(r.peers) || "",
  ]);
  const head = ["kernel", "dtype", "shape", "median (p20 to p80)", "rate", "of its ceiling"];
  return table([...head, "memory", "peers: times as long"], rows, [3, 5, 6]);
}

export function targetsTable(run) {
  const targets = run.machine.device === "cuda" ? cudaTargets : cpuTargets;
  const rows = targets.map(({ text, bound, unit, of, met }) => {
    const value = of(run);
    const known = value !== undefined && value !== null && !Number.isNaN(value);
    const sign = met(bound + 1) ? "at least" : "at most";
    const verdict = known ? (met(value) ? "yes" : "**no**") : "not measured";
    return [text, `${sign} ${bound} ${unit}`, known ? `${digits(value)} ${unit}` : "-", verdict];
  });
  return table(["target", "wanted", "measured", "met"], rows, [1, 2]);
}

export function workTable(benches) {
  const rows = benches.flatMap(({ name, work = {} }) =>
    Object.entries(work)
      .filter(([variant]) => variant !== "small")
      .map(([variant, w]) => [
        `${name} ${variant}`.trim(),
        `\`${w.reads}\``,
        `\`${w.writes}\``,
        `\`${w.flops}\``,
      ]),
  );
  return table(["kernel", "bytes read", "bytes written", "flops"], rows);
}

/**
 * Everything of docs/performance.md that follows from a run.
 *
 * @param run as in bench/results/*.json
 * @param benches whose formulas are printed
 * @returns {Record<string, string>} text by marker
 */
export function performanceParts(run, benches, slug) {
  const { machine, ceilings, results, missing = [] } = run;
  const absent = missing.map(({ name, reason }) => `${name} (${reason})`).join(", ");
  return {
    machine: [
      `${machine.cpu}, ${machine.threads} threads, ${machine.name}; node ${machine.node}; firesteel ${machine.firesteel}. The file with everything: [bench/results/${slug}.json](../bench/results/${slug}.json).`,
      table(
        ["ceiling of this machine, in this run", "measured by", "rate"],
        [
          [
            "reading",
            "memcmp on every thread, or a sum of squares",
            `${digits(ceilings.readGbPerS)} GB/s`,
          ],
          ["reading and writing", "y = a x", `${digits(ceilings.scaleGbPerS)} GB/s`],
          ["the same in place", "x = a x", `${digits(ceilings.updateGbPerS)} GB/s`],
          [
            "f32 products",
            "own matmul of [1024, 1024]",
            `${digits(ceilings.gemmGflopPerS)} GFLOP/s`,
          ],
          ["any call", "the scale of one number", milliseconds(ceilings.callMs)],
        ],
        [2],
      ),
    ].join("\n\n"),
    roofline: `![Roofline: GFLOP/s against flops per byte](performance/roofline-${slug}.svg)`,
    results: [resultsTable(results), absent && `Not there when this was measured: ${absent}.`]
      .filter(Boolean)
      .join("\n\n"),
    targets: targetsTable(run),
    work: workTable(benches),
  };
}

/**
 * `page` with the text between `<!-- generated: name -->` and `<!-- end -->` replaced.
 *
 * @throws Error where the page lacks a marker: nothing is ever dropped in silence
 */
export function fill(page, parts) {
  let filled = page;
  for (const [name, text] of Object.entries(parts)) {
    const pattern = new RegExp(`(<!-- generated: ${name} -->\n)[^]*?(<!-- end -->)`);
    if (!pattern.test(filled)) throw new Error(`The page has no "<!-- generated: ${name} -->"`);
    filled = filled.replace(pattern, (_, begin, end) => `${begin}\n${text}\n\n${end}`);
  }
  return filled;
}

/** A name for files: of the processor or card and its threads, never of the host. */
export function machineSlug({ device, cpu, name, threads }) {
  const parts = device === "cuda" ? [name] : [cpu, name, `${threads} threads`];
  return parts
    .join(" ")
    .toLowerCase()
    .replace(/\((r|tm)\)/g, "")
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
}
