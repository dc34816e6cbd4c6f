const lost = Number.POSITIVE_INFINITY;

/**
 * Functions of doubles: NaN outside of the domain, infinite where a value is so flat there that other
 * arguments could not be told from these.
 */
const table: Readonly<Record<string, (x: number, y?: number) => number>> = {
  sin: (x) => circular(x, 0),
  cos: (x) => circular(x, 1),
  tan: (x) => quotient(circular(x, 0), circular(x, 1)),
  cot: (x) => quotient(circular(x, 1), circular(x, 0)),
  sec: (x) => quotient(1, circular(x, 1)),
  csc: (x) => quotient(1, circular(x, 0)),
  arcsin: Math.asin,
  arccos: Math.acos,
  arctan: (x) => (Math.abs(x) > 1e5 ? lost : Math.atan(x)),
  sinh: (x) => bounded(x, 300, Math.sinh),
  cosh: (x) => (x !== 0 && Math.abs(x) < 1e-4 ? lost : bounded(x, 300, Math.cosh)),
  tanh: (x) => bounded(x, 10, Math.tanh),
  exp: (x) => (x !== 0 && Math.abs(x) < 1e-9 ? lost : bounded(x, 600, Math.exp)),
  ln: positive(Math.log),
  lg: positive(Math.log10),
  /** Of base 10 where none is given. */
  log: (x, base = 10) =>
    base <= 0 || base === 1 || x <= 0 ? Number.NaN : Math.log(x) / Math.log(base),
  abs: Math.abs,
  floor: (x) => steps(x, Math.floor),
  ceil: (x) => steps(x, Math.ceil),
};

export function callFunction(name: string, [x, y]: readonly number[]): number {
  return table[name]?.(x!, y) ?? Number.NaN;
}

/** sin (quarter 0) or cos (quarter 1), exact at the multiples of pi / 2. */
function circular(x: number, quarter: 0 | 1): number {
  if (Math.abs(x) > 1e4) return lost;
  const turns = x / (Math.PI / 2);
  const nearest = Math.round(turns);
  if (Math.abs(turns - nearest) <= 1e-13 * Math.max(1, Math.abs(turns))) {
    const place = (((nearest + quarter) % 4) + 4) % 4;
    return [0, 1, 0, -1][place]!;
  }
  const out = quarter === 0 ? Math.sin(x) : Math.cos(x);
  return Math.abs(Math.abs(out) - 1) < 1e-9 || Math.abs(out) < 1e-9 ? lost : out;
}

function quotient(a: number, b: number): number {
  if (!Number.isFinite(a) || !Number.isFinite(b)) return lost;
  return b === 0 ? Number.NaN : a / b;
}

function bounded(x: number, most: number, compute: (x: number) => number): number {
  return Math.abs(x) > most ? lost : compute(x);
}

function positive(compute: (x: number) => number): (x: number) => number {
  return (x) => (x > 0 ? compute(x) : Number.NaN);
}

/** Next to a step, rounding decides: lost. */
function steps(x: number, compute: (x: number) => number): number {
  return Math.abs(x - Math.round(x)) < 1e-9 ? lost : compute(x);
}
