import { afterAll, describe, expect, it } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { type Backend, loadBackend } from "../../src/engine/loader.js";
import { checksFor, runCheck } from "../../src/verify/verify.js";

/** Why a backend's kernels cannot run here, or null. */
export function missing(backend: Backend): string | null {
  const { addon, attempts } = loadBackend(backend);
  return addon === null
    ? attempts.map(({ path, reason }) => `${path}: ${reason}`).join("; ")
    : null;
}

/** Checks at the vocabularies of GPT-2 and Qwen. */
export const isLargest = (name: string): boolean => /V=(50260|151936)/.test(name);

/**
 * One test for every check of `firesteel verify`, or one skipped test that says what is missing.
 *
 * @param keep which checks, by "family: name"; default all
 */
export function testChecks(title: string, backend: Backend, keep = (_name: string) => true): void {
  const reason = missing(backend);
  if (reason !== null) {
    it.skip(`${title}: not available (${reason})`, () => {});
    return;
  }
  describe(title, () => {
    const engine = new Engine({ device: backend, onFault: () => {} });
    afterAll(() => engine.dispose());
    for (const check of checksFor(backend)) {
      const name = `${check.family}: ${check.name}`;
      if (!keep(name)) continue;
      it(name, () => {
        expect(runCheck(engine, check).finding).toBeNull();
      });
    }
  });
}
