import { expect, it } from "vitest";
import { missing, testChecks } from "./checks.js";

it("the CPU addon is built", () => {
  expect(missing("cpu")).toBeNull();
});

testChecks("cpu", "cpu");
