import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..", "..");
const read = (name: string) => readFileSync(join(root, name), "utf8");

interface Target {
  target_name: string;
  defines: string[];
  cflags?: string[];
}
const gyp = JSON.parse(read("binding.gyp").replace(/^#.*$/gm, "")) as {
  variables: { strict_flags: string[] };
  target_defaults: { defines: string[]; cflags: string[]; cflags_cc: string[] };
  targets: Target[];
  conditions: [string, { targets: Target[] }][];
};
const cmake = read("CMakeLists.txt");
/** The words of `set(NAME ...)`. */
const words = (name: string) =>
  new RegExp(`set\\(${name} ([^)]*)\\)`).exec(cmake)![1]!.replaceAll('"', "").trim().split(/\s+/);

// The prebuilt addon comes from binding.gyp, the one that tests run on from CMakeLists.txt.
describe("node-gyp and CMake compile with the same flags", () => {
  it("arithmetic, optimisation, language, visibility", () => {
    const { cflags, cflags_cc, defines } = gyp.target_defaults;
    expect([...gyp.variables.strict_flags].sort()).toEqual(
      [...words("strict_math"), ...words("warnings")].sort(),
    );
    expect(words("CMAKE_CXX_FLAGS_RELEASE")).toEqual(["-O3", "-DNDEBUG"]);
    expect(cflags_cc).toEqual([`-std=c++${words("CMAKE_CXX_STANDARD")[0]}`, "-O3"]);
    expect(defines).toEqual(["NDEBUG"]);
    expect(cflags).toContain(`-fvisibility=${words("CMAKE_CXX_VISIBILITY_PRESET")[0]}`);
  });

  it("each instruction set", () => {
    const targets = gyp.conditions.flatMap(([, { targets }]) => targets);
    expect(targets.map(({ target_name: name }) => name).sort()).toEqual(
      ["avx2", "avx512", "neon", "sse2"].map((isa) => `firesteel_${isa}`),
    );
    for (const { target_name: name, cflags } of targets) {
      const flags = words(name.replace("firesteel_", "flags_")).filter((flag) => flag !== "");
      expect(cflags, name).toEqual([...flags, "-fno-exceptions", "-fno-rtti"]);
    }
  });
});
