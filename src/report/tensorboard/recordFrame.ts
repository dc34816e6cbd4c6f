import { crc32c } from "@aws-crypto/crc32c";

/**
 * One record of a TFRecord file: length (u64), its checksum, the data, its checksum; little-endian
 * (tensorflow/core/lib/io/record_writer.h).
 */
export function recordFrame(data: Uint8Array): Uint8Array {
  const framed = new Uint8Array(data.length + 16);
  const view = new DataView(framed.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedChecksum(framed.subarray(0, 8)), true);
  framed.set(data, 12);
  view.setUint32(12 + data.length, maskedChecksum(data), true);
  return framed;
}

/** Masked, since a checksum of data that holds checksums is a poor one (lib/hash/crc32c.h). */
export function maskedChecksum(data: Uint8Array): number {
  const checksum = crc32c(data);
  return (((checksum >>> 15) | (checksum << 17)) + 0xa282ead8) >>> 0;
}
