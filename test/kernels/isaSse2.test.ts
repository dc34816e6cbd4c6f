import { testIsa } from "./isa.js";

testIsa("sse2");
