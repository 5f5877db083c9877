import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, TemplatefsError } from '../core/errors.js';
import { findExecutable } from '../sandbox/find-executable.js';
import { runTool, type ToolEnd } from './run-tool.js';

export interface TrustedKeysOptions {
  /** Absolute paths of keyrings, binary or armored, each with any number of keys. */
  readonly keys: readonly string[];
  /** A new folder for it is made here. */
  readonly workFolder: string;
  readonly signal?: AbortSignal;
}

/**
 * Takes keyrings apart: rpm wants each key armored in a file of its own, and asks for no date, so keys that have expired or were
 * revoked are left out here.
 *
 * @returns the files @throws FAILED when a keyring is missing, INTEGRITY when it is none
 */
export async function splitKeys({ keys, workFolder, signal }: TrustedKeysOptions): Promise<string[]> {
  for (const key of keys) {
    try {
      await readFile(key);
    } catch (error) {
      throw new TemplatefsError('FAILED', `the keyring ${key} is not there: ${errnoOf(error) ?? String(error)}`, { hint: 'the definition names it in its file keys: install it on this host', cause: error });
    }
  }
  const home = join(workFolder, 'gnupg');
  await mkdir(home, { mode: 0o700 });
  const gpg = await findExecutable({ name: 'gpg', debianPackage: 'gpg', purpose: 'check signatures of packages' });
  const run = async (...args: string[]): Promise<ToolEnd> => {
    const end = await runTool({ file: gpg, args: ['--homedir', home, '--no-options', '--no-autostart', '--batch', '--quiet', ...args], ...(signal !== undefined && { signal }) });
    if (end.status === 0) return end;
    throw new TemplatefsError('INTEGRITY', `no keyrings: ${keys.join(', ')} (${end.stderr.trim().split('\n').at(-1) ?? ''})`, { hint: 'they must hold OpenPGP public keys, binary or armored' });
  };
  await run('--import', ...keys);
  const files: string[] = [];
  // pub:VALIDITY:… then fpr:::::::::FINGERPRINT: of the same key.
  const listed = (await run('--with-colons', '--fixed-list-mode', '--list-keys')).stdout;
  for (const [, validity = '', fingerprint = ''] of listed.matchAll(/^pub:([^:]*):.*\n(?:(?!pub:|fpr:).*\n)*fpr:(?:[^:]*:){8}([0-9A-F]+):/gm)) {
    if (/[erid]/.test(validity)) continue; // expired, revoked, invalid, disabled
    const file = join(home, `${fingerprint}.asc`);
    await writeFile(file, (await run('--armor', '--export', fingerprint)).stdout);
    files.push(file);
  }
  return files;
}
