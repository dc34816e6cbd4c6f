/** What blocks and the trainer see of device memory; the engine's Tensor and Engine satisfy these. */

/** Element types. bf16 and f16 are held as their bit patterns (`Uint16Array`). */
export type DType = "f32" | "bf16" | "f16" | "f64" | "i32" | "u8";

/** A tensor on some engine. Only its shape is promised here: arithmetic is the engine's business. */
export interface DeviceTensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Number of elements. */
  readonly size: number;
  /** Frees the memory; disposing twice is fine. */
  dispose(): void;
}

/** What a stage knows of the engine; `Engine` is one. */
export interface DeviceEngine {
  readonly device: "cpu" | "cuda" | "emulated";
  /** Resolves when everything enqueued before has run. */
  synchronize(): Promise<void>;
}

/** A trainable tensor with the gradient that backward passes accumulate into. */
export interface DeviceParameter {
  readonly name: string;
  readonly value: DeviceTensor;
  readonly grad: DeviceTensor;
}
