import { TemplatefsError } from '../core/errors.js';
import { printableName, type RawName } from './raw-names.js';

/*
 * Whiteouts of OCI layers as members of a tar: empty files `.wh.NAME`. They stand in front of what GNU tar writes: a tar is members one
 * after another, and two empty blocks at the end.
 */

const BLOCK_BYTES = 512;
export const WHITEOUT_PREFIX = '.wh.';

function octal(value: number, digits: number): string {
  return `${value.toString(8).padStart(digits, '0')}\0`;
}

/** A ustar header with everything that may vary at 0. */
function header(name: Buffer, type: '0' | 'x', size: number): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  name.copy(block, 0, 0, 100);
  block.write(octal(type === 'x' ? 0o644 : 0o600, 7), 100, 'latin1');
  block.write(octal(0, 7), 108, 'latin1');
  block.write(octal(0, 7), 116, 'latin1');
  block.write(octal(size, 11), 124, 'latin1');
  block.write(octal(0, 11), 136, 'latin1');
  block.write('        ', 148, 'latin1');
  block.write(type, 156, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** A record of a pax header: its length counts itself. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** The members that take some paths away; paths are raw, from `/`. */
export function whiteoutMembers(paths: readonly RawName[]): Buffer {
  return Buffer.concat(
    paths.flatMap((path) => {
      const at = path.lastIndexOf('/') + 1;
      const name = Buffer.from(`.${path.slice(0, at)}${WHITEOUT_PREFIX}${path.slice(at)}`, 'latin1');
      if (name.length <= 100) return [header(name, '0', 0)];
      const record = paxRecord('path', name);
      return [header(Buffer.from('./PaxHeaders/whiteout'), 'x', record.length), record, Buffer.alloc((BLOCK_BYTES - (record.length % BLOCK_BYTES)) % BLOCK_BYTES), header(name.subarray(0, 100), '0', 0)];
    }),
  );
}

/** A layer would take such a name for a whiteout. @throws FAILED */
export function refuseWhiteoutNames(paths: readonly RawName[]): void {
  const bad = paths.find((path) => path.slice(path.lastIndexOf('/') + 1).startsWith(WHITEOUT_PREFIX));
  if (bad === undefined) return;
  throw new TemplatefsError('FAILED', `no layer can hold ${JSON.stringify(printableName(bad))}: names that begin with .wh. mean what is taken away`, { hint: 'rename or remove it in the container, then export it again' });
}
