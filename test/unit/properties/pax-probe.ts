import { record } from '../store/tar-builder.js';

/** PAX records of any keys and values. */
export function formatPaxProbe(all: Readonly<Record<string, Uint8Array>>): Buffer {
  return Buffer.concat(Object.entries(all).map(([key, value]) => record(key, Buffer.from(value))));
}
