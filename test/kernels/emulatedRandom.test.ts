import { testChecks } from "./checks.js";

// Read at every launch. A missing barrier shows in some order of the lanes.
process.env.FIRESTEEL_EMULATOR_ORDER = "random:7";

testChecks("emulated, lanes in random:7 order", "emulated");
