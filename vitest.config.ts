import { existsSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vitest/config";

const emulated = existsSync(join(import.meta.dirname, "out", "Release", "firesteel-emulated.node"));
if (!emulated) console.log("tests on the emulated addon are skipped: it is not built");

export default defineConfig({
  test: {
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: { name: "cpu", include: ["test/**/*.test.ts"], env: { FIRESTEEL_DEVICE: "cpu" } },
      },
      ...(emulated
        ? [
            {
              extends: true as const,
              // The CUDA sources from the kernels up to a policy that samples and is scored.
              test: {
                name: "emulated",
                include: [
                  "test/nn/{tape,adamw}.test.ts",
                  "test/policies/{scoring,sampling}.test.ts",
                  "test/policies/flow/{sampling,gradients}.test.ts",
                ],
                env: { FIRESTEEL_DEVICE: "emulated" },
              },
            },
          ]
        : []),
    ],
  },
});
