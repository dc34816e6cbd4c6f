import { invalid } from "../checks.js";
import { type DType, dtypes, floats } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Inputs, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";

/**
 * Rows of a table by index: y[t] = table[ids[t]]. An id outside of the table gives a row of NaN and is
 * reported (Engine's `onFault`).
 *
 * @param table f32, bf16 or f16 [rows, ...]
 * @param ids i32 [T]
 * @returns as table, [T, ...]
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function gatherRows(engine: Engine, table: Tensor, ids: TensorLike): Tensor {
  return withInputs(engine, (inputs) => {
    const from = checkTable(inputs, "table", table, floats);
    const at = inputs.tensor("ids", ids, "i32", [null]);
    const y = inputs.empty([at.size, ...from.shape.slice(1)], from.dtype);
    engine.addon.gatherRows(
      engine.handle,
      dtypes[from.dtype].code,
      at.size,
      rowWidth(from),
      from.shape[0]!,
      handle(from),
      handle(at),
      handle(y),
    );
    return y;
  });
}

/**
 * table[ids[t]] = x[t], in place. Ids must be distinct (else which of them stays is open); those
 * outside of the table are skipped and reported.
 *
 * @param x f32, bf16 or f16 [T, ...]
 * @param ids i32 [T]
 * @param table as x, [rows, ...], rows of the size of x's
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_OPTION, ERR_DISPOSED
 */
export function scatterRows(engine: Engine, x: TensorLike, ids: TensorLike, table: Tensor): void {
  withInputs(engine, (inputs) => {
    const to = checkTable(inputs, "table", table, floats);
    const from = inputs.tensor("x", x, to.dtype, [null, ...to.shape.slice(1)]);
    const count = from.shape[0]!;
    const at = inputs.tensor("ids", ids, "i32", [count]);
    engine.addon.scatterRows(
      engine.handle,
      dtypes[to.dtype].code,
      count,
      rowWidth(to),
      to.shape[0]!,
      handle(from),
      handle(at),
      handle(to),
    );
  });
}

/**
 * dTable[ids[t]] += dY[t] for t ascending, in place: the backward pass of `gatherRows`, in float32 and
 * a fixed order. Ids outside of the table are skipped.
 *
 * @param dY f32, bf16 or f16 [T, ...]
 * @param ids i32 [T]
 * @param dTable f32 [rows, ...], rows of the size of dY's
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_OPTION, ERR_DISPOSED
 */
export function scatterAddRows(
  engine: Engine,
  dY: TensorLike,
  ids: TensorLike,
  dTable: Tensor,
): void {
  withInputs(engine, (inputs) => {
    const to = checkTable(inputs, "dTable", dTable, ["f32"]);
    const from = inputs.tensor("dY", dY, floats, [null, ...to.shape.slice(1)]);
    const count = from.shape[0]!;
    const at = inputs.tensor("ids", ids, "i32", [count]);
    engine.addon.scatterAddRows(
      engine.handle,
      dtypes[from.dtype].code,
      count,
      rowWidth(to),
      to.shape[0]!,
      handle(from),
      handle(at),
      handle(to),
    );
  });
}

function checkTable(inputs: Inputs, name: string, table: Tensor, dtype: readonly DType[]): Tensor {
  const tensor = inputs.tensor(name, table, dtype, null);
  if (tensor.shape.length >= 2) return tensor;
  throw invalid("ERR_SHAPE", name, "two or more dimensions", `[${tensor.shape.join(", ")}]`);
}

function rowWidth(table: Tensor): number {
  return table.shape.slice(1).reduce((a, b) => a * b, 1);
}
