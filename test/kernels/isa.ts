import { it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { isLargest, testChecks } from "./checks.js";

/**
 * All checks but the largest on one instruction set. The addon chooses it when it is loaded, so every
 * test file, which is a process of its own, can take another.
 */
export function testIsa(isa: "sse2" | "avx2" | "avx512"): void {
  if (process.arch !== "x64") {
    it.skip(`${isa}: not an instruction set of ${process.arch}`, () => {});
    return;
  }
  process.env.FIRESTEEL_ISA = isa;
  const refused = refusal();
  // Every x64 processor has SSE2: there a refusal is a failure.
  if (refused !== null && isa !== "sse2") {
    it.skip(`${isa}: ${refused}`, () => {});
    return;
  }
  testChecks(isa, "cpu", (name) => !isLargest(name));
  it(`${isa} is what runs`, ({ expect }) => {
    const engine = new Engine({ device: "cpu" });
    expect(engine.info.name).toBe(isa);
    engine.dispose();
  });
}

function refusal(): string | null {
  try {
    new Engine({ device: "cpu" }).dispose();
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}
