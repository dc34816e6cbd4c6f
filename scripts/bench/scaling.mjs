// npm run bench:scaling: cost against work, into bench/results, docs/scaling.md and its plot. Reads dist.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { Engine } from "../../dist/index.js";
import { digits, fill, machineSlug, milliseconds, table } from "./markdown.mjs";
import { axes, document, line, text } from "./svg.mjs";
import { exponent, sweeps } from "./sweeps.mjs";

/** One panel a sweep: time over size, a line a number of threads. */
export function scalingPlot(measured, title) {
  const [columns, width, height] = [2, 300, 200];
  const parts = [];
  for (const [i, { name, of, threads }] of measured.entries()) {
    const all = threads.flatMap(({ points }) => points);
    const span = (values) => [Math.min(...values) / 1.5, Math.max(...values) * 1.5];
    const frame = {
      left: 70 + (i % columns) * (width + 110),
      top: 60 + Math.floor(i / columns) * (height + 110),
    };
    const chart = axes({
      ...frame,
      ...{ width, height, xName: of, yName: "ms", title: name },
      xs: span(all.map(({ size }) => size)),
      ys: span(all.map(({ ms }) => ms)),
    });
    parts.push(...chart.parts);
    for (const [k, { count, points }] of threads.entries()) {
      const kind = k === 0 ? "s0" : "s1 thin";
      parts.push(
        line(
          points.map(({ size, ms }) => [size, ms]),
          chart.x,
          chart.y,
          kind,
        ),
      );
      const label = `${count} thread${count === 1 ? "" : "s"}`;
      parts.push(text(frame.left + 12, frame.top + 16 + 16 * k, label, `s${k} name`));
    }
  }
  const rows = Math.ceil(measured.length / columns);
  return document(columns * (width + 110) + 20, rows * (height + 110) + 20, title, parts);
}

const mib = (bytes) => `${digits(bytes / 2 ** 20)} MiB`;

/** Exponents first, every point below. */
export function scalingParts({ machine, measured }, slug) {
  const counts = measured[0].threads.map(({ count }) => count);
  const exponents = measured.map(({ name, fixed, of, want, threads }) => {
    const points = threads[0].points;
    const found = threads.map(({ points: own }) => exponent(own).toFixed(2));
    const range = `${points[0].size.toLocaleString("en-US")} to ${points.at(-1).size.toLocaleString("en-US")}`;
    return [name, `${of}, ${range}`, fixed, want, ...found, mib(points.at(-1).peak)];
  });
  const sizes = measured.flatMap(({ name, threads }) =>
    threads[0].points.map(({ size, peak, rss }, i) => [
      name,
      size.toLocaleString("en-US"),
      ...threads.map(({ points }) => milliseconds(points[i].ms)),
      ...[mib(peak), mib(rss)],
    ]),
  );
  const perCount = (what) =>
    counts.map((count) => `${what}${count} thread${count === 1 ? "" : "s"}`);
  return {
    exponents: [
      `${machine.cpu}, ${machine.name}.`,
      table(
        [
          "kernel",
          "grows",
          "beside",
          "expected",
          ...perCount("exponent, "),
          "memory at the largest",
        ],
        exponents,
        [3, 4, 5, 6],
      ),
      `![Time against size](performance/scaling-${slug}.svg)`,
    ].join("\n\n"),
    points: table(
      ["kernel", "size", ...perCount(""), "engine's peak", "resident"],
      sizes,
      [1, 2, 3, 4, 5],
    ),
  };
}

function measureAll() {
  const engine = new Engine({ device: "cpu" });
  const { name, threads, device } = engine.info;
  engine.dispose();
  const program = join(import.meta.dirname, "sweeps.mjs");
  const env = { ...process.env, FIRESTEEL_DEVICE: "cpu" };
  const point = (sweep, size, count) => {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${sweep.name} ${size}`);
    const args = [program, sweep.name, String(size), String(count)];
    return JSON.parse(execFileSync(process.execPath, args, { env }));
  };
  const counts = threads === 1 ? [1] : [1, threads];
  const measured = sweeps.map((sweep) => {
    const { make: _, sizes, ...rest } = sweep;
    const each = counts.map((count) => ({
      count,
      points: sizes.map((size) => point(sweep, size, count)),
    }));
    return { ...rest, threads: each };
  });
  return { machine: { cpu: cpus()[0].model.trim(), name, threads, device }, measured };
}

if (process.argv[1] === import.meta.filename) {
  const root = join(import.meta.dirname, "../..");
  const run = measureAll();
  const slug = machineSlug(run.machine);
  const write = (path, content) => {
    mkdirSync(join(root, path, ".."), { recursive: true });
    writeFileSync(join(root, path), content);
    console.log(path);
  };
  write(`bench/results/scaling-${slug}.json`, `${JSON.stringify(run, null, 1)}\n`);
  write(`docs/performance/scaling-${slug}.svg`, scalingPlot(run.measured, `Scaling of ${slug}`));
  const page = readFileSync(join(root, "docs/scaling.md"), "utf8");
  write("docs/scaling.md", fill(page, scalingParts(run, slug)));
}
