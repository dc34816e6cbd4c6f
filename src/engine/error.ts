/** What can go wrong, as stable codes. */
export type ErrorCode =
  | "ERR_SHAPE"
  | "ERR_DTYPE"
  | "ERR_RANGE"
  | "ERR_OPTION"
  | "ERR_DISPOSED"
  | "ERR_NO_DEVICE"
  | "ERR_OUT_OF_MEMORY"
  | "ERR_DEVICE_LOST"
  | "ERR_CHECKPOINT"
  | "ERR_SAMPLER"
  | "ERR_REWARD"
  | "ERR_ABORTED";

/**
 * The only error that firesteel throws on purpose. `code` is stable; the message names the argument,
 * what was expected and what came.
 */
export class FiresteelError extends Error {
  override readonly name = "FiresteelError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
