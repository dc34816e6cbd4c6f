import type { Task } from "../contract/task.js";
import { arithmetic } from "./arithmetic/index.js";

/** Every task that comes with firesteel, by id. */
export const tasks: Readonly<Record<string, Task>> = Object.freeze({ [arithmetic.id]: arithmetic });
