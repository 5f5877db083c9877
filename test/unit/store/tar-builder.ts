/** Builds tar archives byte by byte, also such as no tar would write. */
export interface Fields {
  readonly name?: string;
  readonly type?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly mtime?: number;
  readonly link?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly prefix?: string;
  /** `ustar` (POSIX), `gnu` or `v7`. */
  readonly format?: 'ustar' | 'gnu' | 'v7';
  /** Changes the block before its checksum is made. */
  readonly patch?: (block: Buffer) => void;
}

export const END = Buffer.alloc(1024);

export function octal(value: number, length: number): string {
  return `${value.toString(8).padStart(length - 1, '0')}\0`;
}

export function header(fields: Fields): Buffer {
  const block = Buffer.alloc(512);
  const { format = 'ustar' } = fields;
  block.write(fields.name ?? '', 0, 100, 'latin1');
  block.write(octal(fields.mode ?? 0o644, 8), 100);
  block.write(octal(fields.uid ?? 0, 8), 108);
  block.write(octal(fields.gid ?? 0, 8), 116);
  block.write(octal(fields.size ?? 0, 12), 124);
  block.write(octal(fields.mtime ?? 0, 12), 136);
  block.write(fields.type ?? '0', 156, 'latin1');
  block.write(fields.link ?? '', 157, 100, 'latin1');
  if (format === 'ustar') block.write('ustar\x0000', 257, 'latin1');
  if (format === 'gnu') block.write('ustar  \0', 257, 'latin1');
  if (format !== 'v7') {
    block.write(octal(fields.major ?? 0, 8), 329);
    block.write(octal(fields.minor ?? 0, 8), 337);
  }
  if (format === 'ustar') block.write(fields.prefix ?? '', 345, 155, 'latin1');
  fields.patch?.(block);
  return seal(block);
}

export function seal(block: Buffer): Buffer {
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

export function padded(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}

/** A member with data; the size is that of the data unless the fields give another. */
export function member(fields: Fields, data: Buffer | string = ''): Buffer {
  const bytes = Buffer.from(data);
  return Buffer.concat([header({ size: bytes.length, ...fields }), padded(bytes)]);
}

export function record(key: string, value: Buffer | string): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), Buffer.from(value), Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** A PAX header for the member that follows (type `x`), or for all (type `g`). */
export function pax(records: readonly (readonly [string, Buffer | string])[], type = 'x'): Buffer {
  return member({ name: 'PaxHeaders/x', type }, Buffer.concat(records.map(([key, value]) => record(key, value))));
}

export function archive(...parts: Buffer[]): Buffer {
  return Buffer.concat([...parts, END]);
}
