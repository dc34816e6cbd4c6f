import { invalid } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, type Inputs, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";

/**
 * Rows of a table by index: y[t] = table[ids[t]]. An id outside of the table gives a row of NaN and is
 * reported (Engine's `onFault`).
 *
 * @param table f32 [rows, ...]
 * @param ids i32 [T]
 * @returns f32 [T, ...]
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function gatherRows(engine: Engine, table: Tensor, ids: TensorLike): Tensor {
  return withInputs(engine, (inputs) => {
    const from = checkTable(inputs, "table", table);
    const at = inputs.tensor("ids", ids, "i32", [null]);
    const y = inputs.empty([at.size, ...from.shape.slice(1)]);
    engine.addon.gatherRows(
      engine.handle,
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
 * @param x f32 [T, ...]
 * @param ids i32 [T]
 * @param table f32 [rows, ...], rows of the size of x's
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_OPTION, ERR_DISPOSED
 */
export function scatterRows(engine: Engine, x: TensorLike, ids: TensorLike, table: Tensor): void {
  withInputs(engine, (inputs) => {
    const to = checkTable(inputs, "table", table);
    const from = inputs.tensor("x", x, "f32", [null, ...to.shape.slice(1)]);
    const count = from.shape[0]!;
    const at = inputs.tensor("ids", ids, "i32", [count]);
    engine.addon.scatterRows(
      engine.handle,
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
 * dTable[ids[t]] += dY[t] for t ascending, in place: the backward pass of `gatherRows`, in a fixed
 * order. Ids outside of the table are skipped.
 *
 * @param dY f32 [T, ...]
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
    const to = checkTable(inputs, "dTable", dTable);
    const from = inputs.tensor("dY", dY, "f32", [null, ...to.shape.slice(1)]);
    const count = from.shape[0]!;
    const at = inputs.tensor("ids", ids, "i32", [count]);
    engine.addon.scatterAddRows(
      engine.handle,
      count,
      rowWidth(to),
      to.shape[0]!,
      handle(from),
      handle(at),
      handle(to),
    );
  });
}

function checkTable(inputs: Inputs, name: string, table: Tensor): Tensor {
  const tensor = inputs.tensor(name, table, "f32", null);
  if (tensor.shape.length >= 2) return tensor;
  throw invalid("ERR_SHAPE", name, "two or more dimensions", `[${tensor.shape.join(", ")}]`);
}

function rowWidth(table: Tensor): number {
  return table.shape.slice(1).reduce((a, b) => a * b, 1);
}
