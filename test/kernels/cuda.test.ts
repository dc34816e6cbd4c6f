import { testChecks } from "./checks.js";

testChecks("cuda", "cuda");
