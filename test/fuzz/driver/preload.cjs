// Puts our build of libFuzzer in the place of @jazzer.js/fuzzer's prebuilt one, which does not load here.
const { createRequire } = require("node:module");
const { dirname, join } = require("node:path");

const core = createRequire(require.resolve("@jazzer.js/core"));
const place = join(dirname(core.resolve("@jazzer.js/fuzzer")), "addon.js");
require.cache[place] = {
  id: place,
  filename: place,
  loaded: true,
  exports: { addon: require(process.env.FIRESTEEL_FUZZ_DRIVER) },
};
