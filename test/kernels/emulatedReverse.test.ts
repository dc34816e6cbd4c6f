import { testChecks } from "./checks.js";

// Read at every launch. A missing barrier shows in some order of the lanes.
process.env.FIRESTEEL_EMULATOR_ORDER = "reverse";

testChecks("emulated, lanes in reverse order", "emulated");
