/** The first line of an input, and what follows it as bytes: inputs that choose among readers stay readable. */
export function headed(bytes) {
  const end = bytes.indexOf(10);
  if (end === -1) return { head: "", body: bytes };
  return { head: bytes.toString("latin1", 0, end), body: bytes.subarray(end + 1) };
}

/** Where in a result a number stands that is none, and so has no place in JSON; null where all are. */
export function notANumber(value, at = "") {
  if (typeof value === "number") return Number.isFinite(value) ? null : `${at} is ${value}`;
  if (typeof value !== "object" || value === null) return null;
  for (const [key, item] of Object.entries(value)) {
    const found = notANumber(item, `${at}.${key}`);
    if (found !== null) return found;
  }
  return null;
}
