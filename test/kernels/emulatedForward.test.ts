import { testChecks } from "./checks.js";

// Read at every launch. A missing barrier shows in some order of the lanes.
process.env.FIRESTEEL_EMULATOR_ORDER = "forward";

testChecks("emulated, lanes in forward order", "emulated");
