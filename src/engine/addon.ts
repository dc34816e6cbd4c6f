/** Opaque handles of the addon. */
export type EngineHandle = { readonly __engine: never };
export type TensorHandle = { readonly __tensor: never };

/** A call's fault: its name, kind (native/runtime/fault.h), how many rows, the first of them. */
export type RawFault = [call: string, kind: number, count: number, firstRow: number];

type Argument = number | boolean | TensorHandle | Float64Array | null;
type Kernel = (engine: EngineHandle, ...args: Argument[]) => void;

/**
 * The whole of what native code exports. Kernels take positional arguments and enqueue; those with many
 * scalars take them as one array of numbers.
 */
export interface Addon {
  readonly backend: "cpu" | "cuda" | "emulated";
  initialize(errorClass: unknown): void;
  open(
    threads: number,
    memoryLimit: number,
    matmul: number,
  ): {
    handle: EngineHandle;
    name: string;
    threads: number;
    units: number;
    compute: number;
    memoryBytes: number;
    matmul: "own" | "cublas";
    matmulDetail: string;
  };
  close(engine: EngineHandle): void;
  memory(engine: EngineHandle): [live: number, pooled: number, peak: number, limit: number];
  synchronize(engine: EngineHandle): Promise<void>;
  /** For tests: the n-th allocation from here on is refused, 0: none. @returns what was still to go */
  refuseAllocation(engine: EngineHandle, n: number): number;
  allocate(engine: EngineHandle, dtype: number, count: number): TensorHandle;
  /** On the memory of a view of a SharedArrayBuffer; the addon of the CPU alone. */
  wrap(engine: EngineHandle, data: ArrayBufferView, dtype: number): TensorHandle;
  view(tensor: TensorHandle, first: number, count: number): TensorHandle;
  dispose(tensor: TensorHandle): void;
  write(tensor: TensorHandle, data: ArrayBufferView): void;
  read(tensor: TensorHandle, into: ArrayBufferView): Promise<RawFault[]>;
  readSync(tensor: TensorHandle, into: ArrayBufferView): RawFault[];
  /** Of an open file's descriptor, until that is closed; false: held by another, null: no such locks here. */
  lockFile(fd: number): boolean | null;

  logProbForward: Kernel;
  logProbPartial: Kernel;
  logProbMerge: Kernel;
  logProbBackward: Kernel;
  linearLogProbForward: Kernel;
  linearLogProbBackward: Kernel;
  /** Of the shape's calls: the smallest chunk, and the bytes that they take beyond their tensors. */
  linearLogProbMemory(
    tokens: number,
    vocab: number,
    hidden: number,
    dtype: number,
    chunkBytes: number,
  ): { least: number; forward: number; backward: number };
  groupNorm: Kernel;
  kl: Kernel;
  surrogate: Kernel;
  readonly surrogateMetrics: number;
  tokenLoss: Kernel;
  groupLoss: Kernel;
  rowScore: Kernel;
  rowScoreBackward: Kernel;
  gaussianForward: Kernel;
  flowStep: Kernel;
  gaussianBackward: Kernel;
  bernoulliForward: Kernel;
  bernoulliBackward: Kernel;
  divergenceForward: Kernel;
  divergenceBackward: Kernel;
  readonly divergenceStats: number;
  gemm: Kernel;
  attentionForward: Kernel;
  attentionBackward: Kernel;
  rmsNormForward: Kernel;
  rmsNormBackward: Kernel;
  rope: Kernel;
  gatherRows: Kernel;
  scatterRows: Kernel;
  scatterAddRows: Kernel;
  swigluForward: Kernel;
  swigluBackward: Kernel;
  add: Kernel;
  addBias: Kernel;
  sumRows: Kernel;
  scale: Kernel;
  fill: Kernel;
  cast: Kernel;
  sample: Kernel;
  sumSquares: Kernel;
  adamw: Kernel;
}
