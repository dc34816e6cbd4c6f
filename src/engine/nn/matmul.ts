import { checkBoolean, checkKeys, invalid } from "../checks.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";

export interface MatmulOptions {
  /** `a` is given as [K, M]; default false. */
  transposeA?: boolean;
  /** `b` is given as [N, K], the layout of a linear layer's weight; default false. */
  transposeB?: boolean;
  /** f32 [M, N]: the product is added to it, and it is returned. Not memory of `a` or `b`. */
  accumulateInto?: Tensor;
  /** f32 [M, N]: written instead of a new tensor. Not memory of `a` or `b`. */
  out?: Tensor;
}

/**
 * Matrix product. On the CPU (and on CUDA with its own kernel) an element's bits depend on its row of
 * `a`, its column of `b` and K alone: a row gives the same result in any batch.
 *
 * @param a f32 [M, K]
 * @param b f32 [K, N]
 * @returns f32 [M, N]; any of the sizes may be 0
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function matmul(
  engine: Engine,
  a: TensorLike,
  b: TensorLike,
  options: MatmulOptions = {},
): Tensor {
  checkKeys("options", options, ["transposeA", "transposeB", "accumulateInto", "out"]);
  const transposeA = checkBoolean("transposeA", options.transposeA ?? false);
  const transposeB = checkBoolean("transposeB", options.transposeB ?? false);
  const { accumulateInto } = options;
  if (accumulateInto !== undefined && options.out !== undefined) {
    throw invalid("ERR_OPTION", "out", "nothing (accumulateInto is given)", options.out);
  }
  return withInputs(engine, (inputs) => {
    const left = inputs.tensor("a", a, "f32", [null, null]);
    const [m, k] = transposed(left, transposeA);
    const right = inputs.tensor("b", b, "f32", transposeB ? [null, k] : [k, null]);
    const [, n] = transposed(right, transposeB);
    const out =
      accumulateInto === undefined
        ? inputs.result("out", options.out, "f32", [m, n])
        : inputs.result("accumulateInto", accumulateInto, "f32", [m, n]);
    engine.addon.gemm(
      engine.handle,
      m,
      n,
      k,
      transposeA,
      transposeB,
      accumulateInto !== undefined,
      handle(left),
      handle(right),
      handle(out),
    );
    return out;
  });
}

function transposed(tensor: Tensor, across: boolean): [rows: number, columns: number] {
  const [rows, columns] = tensor.shape as [number, number];
  return across ? [columns, rows] : [rows, columns];
}
