import { testIsa } from "./isa.js";

testIsa("avx512");
