// What a call gave, as one string: equal strings, equal bits. Clocks are left out.
import { createHash } from "node:crypto";

const clocks = /(^|\/)(step_time$|seconds$|tokens_per_second\/|time\/)/;

export function digest(value) {
  const hash = createHash("sha256");
  const add = (name, item) => {
    if (clocks.test(name)) return;
    if (ArrayBuffer.isView(item)) {
      hash.update(`${name}:`).update(new Uint8Array(item.buffer, item.byteOffset, item.byteLength));
    } else if (typeof item === "object" && item !== null) {
      for (const key of Object.keys(item)) add(key, item[key]);
    } else {
      hash.update(`${name}=${String(item)};`);
    }
  };
  add("", value);
  return hash.digest("hex").slice(0, 16);
}
