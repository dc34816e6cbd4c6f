import type { Tensor } from "../engine/tensor.js";

/** Half the distance between 1 and the next float: the relative error of one rounding. */
export const F32_ROUNDING = 2 ** -24;

type Tolerance = number | ((index: number) => number);

/** What a tensor holds, as numbers (16-bit types come as bits). */
export function values(tensor: Tensor): Float64Array {
  return Float64Array.from(tensor.readSync());
}

/** |got - want| <= tolerance at every index; NaN only where NaN is wanted, infinities exactly. */
export function close(
  what: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tolerance: Tolerance,
): string | null {
  if (got.length !== want.length) return `${what}: ${got.length} values instead of ${want.length}`;
  let worst = -1;
  let excess = 1;
  for (let i = 0; i < want.length; ++i) {
    const [a, b] = [got[i]!, want[i]!];
    if (Object.is(a, b) || a === b) continue;
    const allowed = typeof tolerance === "number" ? tolerance : tolerance(i);
    const ratio = Math.abs(a - b) / allowed;
    if (ratio <= 1) continue;
    if (!Number.isFinite(ratio)) return `${what}[${i}]: ${a} instead of ${b}`;
    if (ratio > excess) {
      excess = ratio;
      worst = i;
    }
  }
  if (worst < 0) return null;
  const [a, b] = [got[worst]!, want[worst]!];
  return `${what}[${worst}]: ${a} instead of ${b}, off by ${excess.toPrecision(3)} times the tolerance`;
}

/** The same bits in every element. */
export function identical(what: string, got: Tensor, want: Tensor): string | null {
  return sameBits(what, got.readSync(), want.readSync());
}

export function sameBits(what: string, got: ArrayBufferView, want: ArrayBufferView): string | null {
  const a = new Uint8Array(got.buffer, got.byteOffset, got.byteLength);
  const b = new Uint8Array(want.buffer, want.byteOffset, want.byteLength);
  if (a.length !== b.length) return `${what}: ${a.length} bytes instead of ${b.length}`;
  const at = a.findIndex((byte, i) => byte !== b[i]);
  return at < 0 ? null : `${what}: the bits differ from byte ${at} of ${a.length} on`;
}

/** Exactly zero everywhere, of either sign. */
export function zero(what: string, got: ArrayLike<number>): string | null {
  for (let i = 0; i < got.length; ++i) {
    if (got[i] !== 0) return `${what}[${i}]: ${got[i]} instead of 0`;
  }
  return null;
}

/** What inputs rounded to floats may move a result of order 1. */
export const ROUNDED_INPUTS = 2e-6;
