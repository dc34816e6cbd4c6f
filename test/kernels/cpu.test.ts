import { expect, it } from "vitest";
import { isLargest, missing, testChecks } from "./checks.js";

it("the CPU addon is built", () => {
  expect(missing("cpu")).toBeNull();
});

// On x64 the tests of each instruction set run the others, the machine's own among them.
testChecks("cpu", "cpu", process.arch === "x64" ? isLargest : undefined);
