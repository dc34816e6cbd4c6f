import { Engine } from "../engine/engine.js";
import { FiresteelError } from "../engine/error.js";
import { type Float, widen } from "../verify/inputs.js";
import { bestOf, type Ceilings, type Load, limitOf, measureCeilings } from "./ceiling.js";
import { evaluate } from "./formula.js";
import { uploadAll } from "./inputs.js";
import type {
  Bench,
  BenchCase,
  BenchResult,
  KernelBench,
  Made,
  PeerResult,
  Results,
  Setting,
  WholeBench,
  WholeResult,
} from "./kernel.js";
import { sampleTimes, summarize } from "./measure.js";
import { MemoryReader } from "./memoryRead.js";
import { beside, type Peer, type PeerTask, withRatios } from "./peers/peer.js";

export interface RunOptions {
  device?: "auto" | Engine["device"];
  /** CPU threads, of firesteel and of every peer; default: all. */
  threads?: number;
  /** Sizes of a real model. Default false. */
  full?: boolean;
  /** Who is timed beside every case, at the same number of threads. */
  peers?: readonly Peer[];
  /** Milliseconds that the samples of one case may take; default 1000. */
  budgetMs?: number;
  onProgress?: (what: string) => void;
}

export interface RunResult {
  machine: { device: Engine["device"]; name: string; threads: number };
  ceilings: Ceilings;
  results: BenchResult[];
}

/** Bytes of an element. */
const elementBytes: Readonly<Record<Float, number>> = { f32: 4, bf16: 2, f16: 2 };

function sizesOf(c: BenchCase): Record<string, number> {
  return { b: elementBytes[c.dtype], ...c.sizes };
}

/** Reads, writes and flops of a case, by its kernel's formulas. */
export function loadOf(bench: KernelBench, c: BenchCase) {
  const work = bench.work[c.variant];
  if (work === undefined) throw new Error(`${bench.name} states no work for "${c.variant}"`);
  const sizes = sizesOf(c);
  return {
    reads: evaluate(work.reads, sizes),
    writes: evaluate(work.writes, sizes),
    flops: evaluate(work.flops, sizes),
    inPlace: work.inPlace,
  };
}

/** How many copies of its inputs a case takes in turn: together four times the largest caches. */
export function copiesOf(c: BenchCase, bytes: number, device: Engine["device"]): number {
  if (!c.cold) return 1;
  const caches = device === "cuda" ? 2 ** 29 : 2 ** 27;
  return Math.min(32, Math.max(1, Math.ceil(caches / bytes)));
}

/**
 * Times kernels, one after the other. What a kernel computes is held against float64 first.
 *
 * @throws FiresteelError ERR_NO_DEVICE where a kernel is wrong here: it is not timed, nor is what follows
 */
export async function runBench(
  benches: readonly Bench[],
  options: RunOptions = {},
): Promise<RunResult> {
  const { device = "auto", threads, full = false, onProgress = () => {} } = options;
  onProgress("ceilings");
  const { info, ceilings: before } = await ceilingsOf({ device, threads });
  const setting: Setting = { device: info.device, full };
  const reader = info.device === "cpu" ? await MemoryReader.open(info.threads) : null;
  const measured: Measured[] = [];
  try {
    for (const bench of benches) {
      if ("measure" in bench) {
        onProgress(bench.name);
        const { peers = [], budgetMs = 1000 } = options;
        const whole = { ...setting, threads, peers, budgetMs, onProgress };
        for (const result of await bench.measure(whole)) {
          measured.push({ result: benched(bench, result), load: null, small: false, reads: [] });
        }
        continue;
      }
      for (const c of bench.cases(setting)) {
        onProgress(nameOf(bench, c, true));
        const here = { ...options, device: info.device };
        measured.push(await benchCase(bench, c, here, reader));
      }
    }
  } finally {
    await reader?.close();
  }
  onProgress("ceilings");
  const { ceilings: after } = await ceilingsOf({ device, threads });
  const best = bestOf(before, after);
  const fastest = Math.max(0, ...measured.flatMap(({ reads }) => reads));
  const ceilings = { ...best, readGbPerS: Math.max(best.readGbPerS, fastest) };
  const machine = { device: info.device, name: info.name, threads: info.threads };
  const results = measured.map((m) => withCeiling(m, ceilings, fastest));
  return { machine, ceilings, results };
}

/** A result before its share of the ceilings is known. */
export interface Measured {
  result: BenchResult;
  load: Load | null;
  small: boolean;
  /** GB/s that memory could be read at before and after every half of the samples. */
  reads: readonly number[];
}

/**
 * Neighbours of a shared machine take their part of its memory, for seconds at a time: a call's reads
 * are held against what could be read beside it.
 *
 * @param fastest GB/s, of all reads of the run
 */
export function withCeiling(
  { result, load, small, reads }: Measured,
  ceilings: Ceilings,
  fastest: number,
): BenchResult {
  if (load === null) return result;
  const mean = reads.reduce((sum, read) => sum + read, 0) / reads.length;
  const readPace = reads.length === 0 ? 1 : mean / fastest;
  const beside = { ...ceilings, readGbPerS: readPace * ceilings.readGbPerS };
  const { ms, ceiling } = limitOf(load, beside, small);
  return { ...result, ceiling, ofPeak: ms / result.medianMs, readPace };
}

async function ceilingsOf(options: Pick<RunOptions, "device" | "threads">) {
  const engine = new Engine(options);
  try {
    return { info: engine.info, ceilings: await measureCeilings(engine) };
  } finally {
    engine.dispose();
  }
}

function nameOf(bench: Bench, { variant, dtype }: BenchCase, withDtype = false): string {
  return [bench.name, variant, withDtype ? dtype : ""].filter((part) => part !== "").join(" ");
}

function benched({ name }: WholeBench, { variant, ...result }: WholeResult): BenchResult {
  const unknown = { bytes: 0, flops: 0, gbPerS: 0, gflopPerS: 0, ceiling: null, ofPeak: null };
  return { kernel: `${name} ${variant}`, ...result, ...unknown, readPace: 1 };
}

/** Of one case. An engine of its own, so that its peak memory is the case's. */
export async function benchCase(
  bench: KernelBench,
  c: BenchCase,
  options: RunOptions & { device: Engine["device"] },
  reader: MemoryReader | null = null,
): Promise<Measured> {
  const { threads, peers = [], budgetMs = 1000, onProgress = () => {} } = options;
  // A faulty row is found by the check; nobody needs to be warned of it.
  const engine = new Engine({ device: options.device, threads, onFault: () => {} });
  try {
    const { device } = engine;
    const load = loadOf(bench, c);
    const bytes = load.reads + load.writes;
    const inputs = bench.inputs(c);
    const copies = copiesOf(c, bytes, device);
    const prepare = () => bench.prepare(engine, uploadAll(engine, inputs), c);
    const states = [prepare()];
    const made = bench.run(engine, states[0], c);
    await engine.synchronize();
    const peakMemoryBytes = engine.memory().peak;
    const got = firstRows(engine, made, bench.compared(c));
    const finding = bench.check(got, inputs, c, device);
    if (finding !== null) {
      const what = `${nameOf(bench, c, true)} is wrong here, so it is not timed: ${finding}`;
      throw new FiresteelError("ERR_NO_DEVICE", what);
    }

    while (states.length < copies) states.push(prepare());
    const call = (index: number) => bench.run(engine, states[index % copies], c);
    // Half before the peers and half after: a machine that changes its pace does so for all.
    const half = { samples: 11, budgetMs: budgetMs / 2 };
    const reads: number[] = [];
    const ask = async () => {
      if (reader !== null) reads.push(await reader.rate());
    };
    await ask();
    const times = await sampleTimes(engine, call, half);
    await ask();
    const task: PeerTask = {
      task: nameOf(bench, c),
      dtype: c.dtype,
      device: device === "cuda" ? "cuda" : "cpu",
      threads: engine.info.threads,
      sizes: sizesOf(c),
      inputs,
      copies,
    };
    const others = new Map<string, Omit<PeerResult, "ratio">>();
    for (const peer of peers) {
      onProgress(`${nameOf(bench, c, true)}: ${peer.name}`);
      const result = await beside(peer, task, got, half);
      if (result !== null) others.set(peer.name, result);
    }
    if (others.size > 0) await ask();
    times.push(...(await sampleTimes(engine, call, half)));
    await ask();

    const timing = summarize(times);
    const result: BenchResult = {
      kernel: nameOf(bench, c),
      device,
      threads: engine.info.threads,
      shape: c.shape,
      dtype: c.dtype,
      ...timing,
      bytes,
      flops: load.flops,
      gbPerS: bytes / timing.medianMs / 1e6,
      gflopPerS: load.flops / timing.medianMs / 1e6,
      ceiling: null,
      ofPeak: null,
      readPace: 1,
      peakMemoryBytes,
      peers: withRatios(others, timing.medianMs),
    };
    return { result, load, small: c.small === true, reads };
  } finally {
    engine.dispose();
  }
}

/** The first rows of outputs, as numbers. */
function firstRows(
  engine: Engine,
  made: Made,
  compared: Readonly<Record<string, number>>,
): Results {
  return Object.fromEntries(
    Object.entries(compared).map(([name, rows]) => {
      const tensor = made[name]!;
      const data = engine.scope(() => tensor.rows(0, rows).readSync());
      const sixteen = tensor.dtype === "bf16" || tensor.dtype === "f16";
      return [name, sixteen ? widen(data, tensor.dtype as Float) : Float64Array.from(data)];
    }),
  );
}
