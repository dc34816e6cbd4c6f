/** Values of a call's tensors by name, as plain arrays; the tensors are disposed. */
export async function read(result) {
  const tensors = Object.entries(result).filter(([, tensor]) => tensor !== null);
  try {
    const values = await Promise.all(
      tensors.map(async ([name, t]) => [name, [...(await t.read())]]),
    );
    return Object.fromEntries(values);
  } finally {
    for (const [, tensor] of tensors) tensor.dispose();
  }
}

/** Bounds of rows that lie one after the other. */
export function offsetsOf(rows) {
  const offsets = [0];
  for (const row of rows) offsets.push(offsets.at(-1) + row.length);
  return offsets;
}

/** A flat array cut into rows as long as those of `like`. */
export function cut(flat, like) {
  const offsets = offsetsOf(like);
  return like.map((_, r) => flat.slice(offsets[r], offsets[r + 1]));
}
