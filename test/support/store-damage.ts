import { closeSync, openSync, readFileSync, readSync, readdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { TestStore } from './test-store.js';

/** Changes one byte of a file, whatever its mode. */
export function flipByte(path: string, at: number): void {
  const fd = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, at);
  writeSync(fd, Buffer.from([(byte[0] ?? 0) ^ 0xff]), 0, 1, at);
  closeSync(fd);
}

/** The path of the object that has this content. */
export function objectOf(store: TestStore, content: string): string {
  const folder = join(store.path, 'objects');
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const path = join(folder, name);
    if (name.length > 2 && readFileSync(path).equals(Buffer.from(content, 'latin1'))) return path;
  }
  throw new Error(`no object with ${JSON.stringify(content.slice(0, 40))}`);
}

/** The id of an object by its path. */
export function objectName(path: string): string {
  return path.split('/').slice(-2).join('');
}

export interface VerifyReport {
  readonly status: number | null;
  readonly stderr: string;
  readonly objectsChecked: number;
  readonly bytesChecked: number;
  readonly problems: readonly { readonly kind: string; readonly name: string; readonly problem: string; readonly repair: string }[];
  readonly repaired: readonly { readonly kind: string; readonly name: string }[];
}

/** Runs `verify` with `--json`. */
export async function verify(store: TestStore, ...options: string[]): Promise<VerifyReport> {
  const { status, stdout, stderr } = await store.run(['--json', 'verify', ...options]);
  if (stdout === '') throw new Error(`verify ended with ${String(status)}: ${stderr}`);
  return { ...(JSON.parse(stdout) as VerifyReport), status, stderr };
}
