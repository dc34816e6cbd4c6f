import { checkBoolean, checkChoice, checkKeys, invalid } from "../checks.js";
import { dtypes, type Float, floats } from "../dtype.js";
import type { Engine, TensorLike } from "../engine.js";
import { handle, withInputs } from "../inputs.js";
import type { Tensor } from "../tensor.js";
import { cast } from "./elementwise.js";

/** Choices of `matmul`. */
export interface MatmulOptions {
  /** `a` is given as [K, M]; default false. */
  transposeA?: boolean;
  /** `b` is given as [N, K], the layout of a linear layer's weight; default false. */
  transposeB?: boolean;
  /** f32 [M, N]: the product is added to it, and it is returned. Not memory of `a` or `b`. */
  accumulateInto?: Tensor;
  /** Of the result, which is computed in float32 and rounded once; default "f32". */
  dtype?: Float;
  /** [M, N] of `dtype`: written instead of a new tensor. Not memory of `a` or `b`. */
  out?: Tensor;
}

/**
 * Matrix product. On the CPU (and on CUDA with its own kernel) an element's bits depend on its row of
 * `a`, its column of `b` and K alone: a row gives the same result in any batch.
 *
 * @param a f32, bf16 or f16 [M, K]
 * @param b as a, [K, N]; where a is f32, of any of the three
 * @returns [M, N]; any of the sizes may be 0
 * @throws FiresteelError ERR_SHAPE, ERR_DTYPE, ERR_OPTION, ERR_DISPOSED, ERR_OUT_OF_MEMORY
 */
export function matmul(
  engine: Engine,
  a: TensorLike,
  b: TensorLike,
  options: MatmulOptions = {},
): Tensor {
  checkKeys("options", options, ["transposeA", "transposeB", "accumulateInto", "dtype", "out"]);
  const transposeA = checkBoolean("transposeA", options.transposeA ?? false);
  const transposeB = checkBoolean("transposeB", options.transposeB ?? false);
  const { accumulateInto } = options;
  if (accumulateInto !== undefined && options.out !== undefined) {
    throw invalid("ERR_OPTION", "out", "nothing (accumulateInto is given)", options.out);
  }
  const dtype = checkChoice("dtype", options.dtype ?? "f32", floats);
  if (accumulateInto !== undefined && dtype !== "f32") {
    throw invalid("ERR_OPTION", "dtype", '"f32" (accumulateInto is)', dtype);
  }
  return withInputs(engine, (inputs) => {
    const left = inputs.tensor("a", a, floats, [null, null]);
    const [m, k] = transposed(left, transposeA);
    const rightTypes = left.dtype === "f32" ? floats : left.dtype;
    const right = inputs.tensor("b", b, rightTypes, transposeB ? [null, k] : [k, null]);
    const [, n] = transposed(right, transposeB);
    const out =
      accumulateInto === undefined
        ? inputs.result("out", options.out, dtype, [m, n])
        : inputs.result("accumulateInto", accumulateInto, "f32", [m, n]);
    const product = dtype === "f32" ? out : inputs.temporary(engine.empty([m, n]));
    engine.addon.gemm(
      engine.handle,
      m,
      n,
      k,
      transposeA,
      transposeB,
      accumulateInto !== undefined,
      dtypes[left.dtype].code,
      dtypes[right.dtype].code,
      handle(left),
      handle(right),
      handle(product),
    );
    return dtype === "f32" ? out : cast(engine, product, dtype, { out });
  });
}

function transposed(tensor: Tensor, across: boolean): [rows: number, columns: number] {
  const [rows, columns] = tensor.shape as [number, number];
  return across ? [columns, rows] : [rows, columns];
}
