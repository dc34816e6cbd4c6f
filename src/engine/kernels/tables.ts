import type { KernelTable } from "./kernelTable.js";
import { surrogateTable } from "./surrogateTable.js";

/** Every family's table. */
export const kernelTables: readonly KernelTable[] = [surrogateTable];
