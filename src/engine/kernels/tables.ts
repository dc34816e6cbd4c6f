import { bernoulliTable } from "./bernoulliTable.js";
import { divergenceTable } from "./divergenceTable.js";
import { gaussianTable } from "./gaussianTable.js";
import { groupLossTable } from "./groupLossTable.js";
import { groupNormTable } from "./groupNormTable.js";
import type { KernelTable } from "./kernelTable.js";
import { klTable } from "./klTable.js";
import { linearLogProbTable } from "./linearLogProbTable.js";
import { logProbTable } from "./logProbTable.js";
import { rowScoreTable } from "./rowScoreTable.js";
import { surrogateTable } from "./surrogateTable.js";
import { tokenLossTable } from "./tokenLossTable.js";

/** Every family's table, in the order of the data's way. */
export const kernelTables: readonly KernelTable[] = [
  logProbTable,
  linearLogProbTable,
  groupNormTable,
  surrogateTable,
  tokenLossTable,
  klTable,
  rowScoreTable,
  groupLossTable,
  divergenceTable,
  gaussianTable,
  bernoulliTable,
];
