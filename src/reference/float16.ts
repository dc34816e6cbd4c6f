// The two 16-bit formats as bit patterns, the way tensors hold them.

interface Format {
  exponentBits: number;
  fractionBits: number;
}

const formats = {
  bf16: { exponentBits: 8, fractionBits: 7 },
  f16: { exponentBits: 5, fractionBits: 10 },
} as const satisfies Record<string, Format>;

export type Float16 = keyof typeof formats;

/** The number that a bit pattern stands for. */
export function decode16(bits: number, type: Float16): number {
  const { exponentBits, fractionBits } = formats[type];
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = bits >> 15 === 0 ? 1 : -1;
  const exponent = (bits >> fractionBits) & (2 ** exponentBits - 1);
  const fraction = bits & (2 ** fractionBits - 1);
  if (exponent === 2 ** exponentBits - 1)
    return fraction === 0 ? sign * Number.POSITIVE_INFINITY : NaN;
  if (exponent === 0) return sign * fraction * 2 ** (1 - bias - fractionBits);
  return sign * (1 + fraction / 2 ** fractionBits) * 2 ** (exponent - bias);
}

/** The nearest bit pattern, ties to even; beyond the largest number infinity. */
export function encode16(x: number, type: Float16): number {
  const { exponentBits, fractionBits } = formats[type];
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const infinity = (2 ** exponentBits - 1) << fractionBits;
  if (Number.isNaN(x)) return infinity | (1 << (fractionBits - 1));
  const a = Math.abs(x);
  if (a === Number.POSITIVE_INFINITY) return sign | infinity;
  const exponent = Math.max(a === 0 ? 1 - bias : floorLog2(a), 1 - bias);
  const units = roundEven(a / 2 ** (exponent - fractionBits));
  // A carry out of the fraction lands in the exponent, which is what rounding up means here.
  const normal = exponent - (1 - bias);
  return sign | Math.min(normal * 2 ** fractionBits + units, infinity);
}

function floorLog2(a: number): number {
  const guess = Math.floor(Math.log2(a));
  return 2 ** guess > a ? guess - 1 : 2 ** (guess + 1) <= a ? guess + 1 : guess;
}

function roundEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}
