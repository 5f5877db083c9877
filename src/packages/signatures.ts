import { spawn } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, TemplatefsError } from '../core/errors.js';
import { findExecutable } from '../sandbox/find-executable.js';
import { makeTemporaryFolder } from '../store/temporary-folder.js';

/** Hashes of RFC 4880 that no longer prove anything: MD5, SHA-1, RIPE-MD/160. */
const WEAK_HASHES = new Set(['1', '2', '3']);

/** The bytes in an OpenPGP armor. @throws Error for a text without one */
function dearmor(text: string): Buffer {
  const blocks = [...text.matchAll(/-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\n]*:[^\n]*\n)*\s*\n([A-Za-z0-9+/=\s]+?)(?:\n=[A-Za-z0-9+/]{4})?\s*-----END PGP PUBLIC KEY BLOCK-----/g)];
  if (blocks.length === 0) throw new Error('no public key in it');
  return Buffer.concat(blocks.map(([, body = '']) => Buffer.from(body.replaceAll(/\s/g, ''), 'base64')));
}

/** gpgv takes binary keyrings only. @throws FAILED, INTEGRITY */
async function keyringFiles(keys: readonly string[], folder: string): Promise<string[]> {
  return Promise.all(
    keys.map(async (key, index) => {
      let bytes: Buffer;
      try {
        bytes = await readFile(key);
      } catch (error) {
        throw new TemplatefsError('FAILED', `the keyring ${key} is not there: ${errnoOf(error) ?? String(error)}`, {
          hint: 'install it on this host (for Debian: apt-get install debian-archive-keyring)',
          cause: error,
        });
      }
      if (!bytes.subarray(0, 64).includes('-----BEGIN')) return key;
      const path = join(folder, `key-${index}.gpg`);
      try {
        await writeFile(path, dearmor(bytes.toString('latin1')));
      } catch (error) {
        throw new TemplatefsError('INTEGRITY', `${key} is no keyring`, { hint: 'it must hold OpenPGP public keys, binary or armored', cause: error });
      }
      return path;
    }),
  );
}

interface Verdict {
  readonly status: string;
  readonly errors: string;
}

function runGpgv(gpgv: string, args: readonly string[]): Promise<Verdict> {
  return new Promise((resolve, reject) => {
    const child = spawn(gpgv, ['--status-fd', '1', ...args], { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: '/usr/bin:/bin', LC_ALL: 'C', GNUPGHOME: '/nonexistent' } });
    let status = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (status += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (errors = `${errors}${text}`.slice(-4096)));
    child.once('error', reject);
    child.once('close', () => { resolve({ status, errors }); });
  });
}

/**
 * A document counts as signed when at least one signature is good, by a key of the definition that is neither expired nor revoked,
 * with a hash that still holds, and none is bad. Signatures by other keys do not matter: distributions sign with several.
 */
function judge({ status }: Verdict): string | undefined {
  const lines = status.split('\n').map((line) => line.replace(/^\[GNUPG:\] /, '').split(' '));
  const has = (name: string): boolean => lines.some(([word]) => word === name);
  if (has('BADSIG')) return 'a signature is bad: it was changed after it was signed';
  const weak = lines.filter(([word]) => word === 'VALIDSIG').every((fields) => WEAK_HASHES.has(fields[8] ?? '1'));
  if (has('GOODSIG') && has('VALIDSIG')) return weak ? 'the signature uses a hash that no longer proves anything' : undefined;
  if (has('EXPKEYSIG')) return 'the key that signed it has expired';
  if (has('REVKEYSIG')) return 'the key that signed it was revoked';
  if (has('EXPSIG')) return 'the signature has expired';
  if (has('NO_PUBKEY') || has('ERRSIG')) return 'it is signed by a key that the definition does not have';
  return 'it is not signed';
}

export interface SignedDocument {
  /** Named in errors. */
  readonly name: string;
  readonly keys: readonly string[];
}

function refuse(document: SignedDocument, why: string, verdict: Verdict): TemplatefsError {
  const said = verdict.errors.trim().split('\n').at(-1) ?? '';
  return new TemplatefsError('INTEGRITY', `${document.name}: ${why}${said === '' ? '' : ` (${said})`}`, {
    hint: `the keys that count are ${document.keys.join(', ')}; check the definition's files keys and repositories, and the clock`,
  });
}

async function withFolder<Result>(work: (folder: string, gpgv: string) => Promise<Result>): Promise<Result> {
  const gpgv = await findExecutable({ name: 'gpgv', debianPackage: 'gpgv', purpose: 'check signatures of repositories' });
  const folder = makeTemporaryFolder('gpgv');
  try {
    return await work(folder, gpgv);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Checks a clear-signed document (InRelease). @returns what was signed, and nothing else of it @throws INTEGRITY, FAILED */
export async function openClearSigned(document: SignedDocument, bytes: Buffer): Promise<string> {
  return withFolder(async (folder, gpgv) => {
    const [input, output] = [join(folder, 'signed'), join(folder, 'content')];
    await writeFile(input, bytes);
    const keyrings = await keyringFiles(document.keys, folder);
    const verdict = await runGpgv(gpgv, [...keyrings.flatMap((file) => ['--keyring', file]), '--output', output, input]);
    const problem = judge(verdict);
    if (problem !== undefined) throw refuse(document, problem, verdict);
    return readFile(output, 'utf8');
  });
}

/** Checks a document against its detached signature (repomd.xml.asc, Release.gpg). @throws INTEGRITY, FAILED */
export async function checkDetachedSignature(document: SignedDocument, bytes: Buffer, signature: Buffer): Promise<void> {
  await withFolder(async (folder, gpgv) => {
    const [input, detached] = [join(folder, 'content'), join(folder, 'content.sig')];
    await writeFile(input, bytes);
    await writeFile(detached, signature);
    const keyrings = await keyringFiles(document.keys, folder);
    const verdict = await runGpgv(gpgv, [...keyrings.flatMap((file) => ['--keyring', file]), detached, input]);
    const problem = judge(verdict);
    if (problem !== undefined) throw refuse(document, problem, verdict);
  });
}
