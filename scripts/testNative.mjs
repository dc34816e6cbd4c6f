// Builds and runs the native tests (doctest on firesteel_core, and the emulator's). Without doctest
// (Debian: doctest-dev) they are skipped, and that is said.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const build = join(dirname(fileURLToPath(import.meta.url)), "..", "out");
const folders = ["/usr/include", "/usr/local/include", "/opt/homebrew/include"];
if (!folders.some((folder) => existsSync(join(folder, "doctest", "doctest.h")))) {
  console.log(
    "native tests skipped: doctest is not installed (Debian: apt-get install doctest-dev)",
  );
  process.exit(0);
}

function run(command, args, options) {
  const result = spawnSync(command, args, { encoding: "utf8", maxBuffer: 1 << 28, ...options });
  if (result.status !== 0) {
    process.stderr.write((result.stdout ?? "") + (result.stderr ?? ""));
    process.exit(1);
  }
}

const parallel = ["--parallel", `${availableParallelism()}`];
run("cmake", ["--build", build, "--target", "native_tests", ...parallel]);
run("ctest", ["--output-on-failure", ...parallel], {
  cwd: join(build, "test", "native"),
  stdio: "inherit",
});
