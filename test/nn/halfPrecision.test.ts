import { describe, expect, it } from "vitest";
import { fromBfloat16, fromFloat16 } from "../../src/nn/halfPrecision.js";

describe("half precision", () => {
  it("turns bf16 bits into the number they stand for", () => {
    const bits = Uint16Array.of(0x3f80, 0xc000, 0x0001, 0x8000, 0x7f80, 0xff80, 0x7fc0);
    const numbers = [1, -2, 2 ** -133, -0, Infinity, -Infinity, Number.NaN];
    expect([...fromBfloat16(bits)]).toEqual(numbers);
  });

  it("turns f16 bits into the number they stand for", () => {
    const bits = [0x3c00, 0xc000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0x8000, 0x7c00, 0xfc00, 0x7e00];
    const numbers = [1, -2, 2 ** -24, -1023 / 2 ** 24, 2 ** -14, 65504, -0, Infinity, -Infinity];
    expect([...fromFloat16(Uint16Array.from(bits))]).toEqual([...numbers, Number.NaN]);
  });
});
