/** This package's version. */
export { packageVersion as version } from "./engine/binaryPlaces.js";
