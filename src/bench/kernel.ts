import type { Engine } from "../engine/engine.js";
import type { Tensor } from "../engine/tensor.js";
import type { Float } from "../verify/inputs.js";
import type { Formula } from "./formula.js";
import type { Inputs, Tensors } from "./inputs.js";
import type { Timing } from "./measure.js";
import type { Peer } from "./peers/peer.js";

/** What decides the sizes of the cases. */
export interface Setting {
  device: Engine["device"];
  /** Sizes of a real model where the default ones are cut to what a laptop computes in a second. */
  full: boolean;
}

export interface BenchCase {
  /** Which call of the kernel: the second half of a result's name. */
  variant: string;
  dtype: Float;
  shape: readonly number[];
  /** What the formulas read; `b`, the bytes of an element, goes without saying. */
  sizes: Readonly<Record<string, number>>;
  /** So little work that the call itself is what is measured. */
  small?: boolean;
  /** Inputs are changed in turn so that none is still in a cache; for kernels that memory bounds. */
  cold?: boolean;
}

/** What a call has to do at least; an exponential counts as one flop. */
export interface Work {
  reads: Formula;
  writes: Formula;
  flops: Formula;
  /** What is written was read before: no line is fetched only to be overwritten. */
  inPlace?: boolean;
}

/** The first rows of every output, as numbers. */
export type Results = Readonly<Record<string, Float64Array>>;

/** What a call makes, by name. */
export type Made = Readonly<Record<string, Tensor>>;

/** How one kernel is timed. Everything but `run` is outside of the clock. */
export interface KernelBench<State = unknown> {
  /** As on the command line. */
  readonly name: string;
  readonly about: string;
  /** By variant. */
  readonly work: Readonly<Record<string, Work>>;
  cases(setting: Setting): readonly BenchCase[];
  /** Deterministic. */
  inputs(c: BenchCase): Inputs;
  /** What `run` needs beside the tensors; tensors that it makes live until the engine's end. */
  prepare(engine: Engine, tensors: Tensors, c: BenchCase): State;
  /** One call. What it returns is freed by the caller, which reads `compared` of it. */
  run(engine: Engine, state: State, c: BenchCase): Made;
  /** Which outputs, and how many of their first rows, are held against float64 and the peers. */
  compared(c: BenchCase): Readonly<Record<string, number>>;
  /** Null, or what is wrong with the first rows; against float64. */
  check(got: Results, inputs: Inputs, c: BenchCase, device: Engine["device"]): string | null;
}

/** What is not one call of a kernel: it measures itself, and its peers beside it. */
export interface WholeBench {
  readonly name: string;
  readonly about: string;
  measure(setting: WholeSetting): Promise<WholeResult[]>;
}

export interface WholeSetting extends Setting {
  threads?: number;
  peers: readonly Peer[];
  /** Milliseconds that the samples of one result may take. */
  budgetMs: number;
  onProgress: (what: string) => void;
}

export interface WholeResult extends Timing {
  variant: string;
  device: Engine["device"];
  threads: number;
  shape: readonly number[];
  dtype: Float;
  peakMemoryBytes: number;
  /** Tokens of completions, sampled or trained. */
  tokensPerS: number;
  peers: Record<string, PeerResult>;
}

export type Bench = KernelBench | WholeBench;

/** One line of a benchmark. */
export interface BenchResult extends Timing {
  /** Kernel and variant: "log-prob forward". */
  kernel: string;
  device: Engine["device"];
  threads: number;
  shape: readonly number[];
  dtype: Float;
  /** What the call must move and compute at least. 0 where that is not known. */
  bytes: number;
  flops: number;
  gbPerS: number;
  gflopPerS: number;
  /** What bounds the call on this machine: memory, matrix products, or the cost of any call. */
  ceiling: "memory" | "gemm" | "call" | null;
  /** The time that the ceiling leaves over the time taken. */
  ofPeak: number | null;
  /** How fast memory was read beside this call, of the fastest in the run: `ofPeak` is held against that. */
  readPace: number;
  /** The most that tensors and workspace took, inputs included. */
  peakMemoryBytes: number;
  /** Parts of whole training steps only. */
  tokensPerS?: number;
  peers: Record<string, PeerResult>;
}

/** Someone else at the same work; ratio: how many times slower than firesteel. */
export interface PeerResult {
  medianMs: number | null;
  ratio: number | null;
  p20Ms?: number;
  p80Ms?: number;
  /** Largest distance from firesteel's first rows, relative to the largest value among them. */
  difference?: number;
  /** Why it was not timed. */
  reason?: string;
}
