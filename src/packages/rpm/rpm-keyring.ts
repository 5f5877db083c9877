import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { TemplatefsError } from '../../core/errors.js';
import { findExecutable } from '../../sandbox/find-executable.js';
import type { FetchedPackage } from '../package-manager.js';
import { runTool } from '../run-tool.js';
import { splitKeys, type TrustedKeysOptions } from '../trusted-keys.js';

/**
 * Checks with rpm's own tool that packages are signed by the definition's keys, and whole. rpm gets a database of keys in a
 * folder of its own; what the host trusts does not count.
 *
 * @throws INTEGRITY naming the packages that are not
 */
export async function checkPackageSignatures(packages: readonly Pick<FetchedPackage, 'fileName' | 'path'>[], options: TrustedKeysOptions): Promise<void> {
  if (packages.length === 0) return;
  const { workFolder, signal } = options;
  const stop = signal === undefined ? {} : { signal };
  const rpmkeys = await findExecutable({ name: 'rpmkeys', debianPackage: 'rpm', purpose: 'check the signatures of packages' });
  const database = join(workFolder, 'rpm-keys');
  await mkdir(database, { mode: 0o700 });
  // "all": a package must have a good signature and good digests. Without it an unsigned package with good digests would do.
  const common = ['--dbpath', database, '--define', '_keyring rpmdb', '--define', '_pkgverify_level all', '--define', '_pkgverify_flags 0x0'];
  const certificates = await splitKeys(options);
  if (certificates.length > 0) {
    const { status, stderr } = await runTool({ file: rpmkeys, args: [...common, '--import', ...certificates], ...stop });
    if (status !== 0) throw new TemplatefsError('FAILED', `rpm does not take the keys: ${stderr.trim()}`, { hint: 'rpm 4.18 knows RSA, DSA and Ed25519 keys; check the file keys of the definition' });
  }
  const { status, stdout, stderr } = await runTool({ file: rpmkeys, args: [...common, '--checksig', ...packages.map(({ path }) => path)], ...stop });
  // One line a package: "FILE: digests signatures OK", or "FILE: digests SIGNATURES NOT OK".
  const good = new Set(stdout.split('\n').filter((line) => line.endsWith(': digests signatures OK')).map((line) => line.slice(0, line.lastIndexOf(': '))));
  const bad = packages.filter(({ path }) => !good.has(path)).map(({ fileName }) => fileName);
  if (status === 0 && bad.length === 0) return;
  throw new TemplatefsError('INTEGRITY', `not signed by the keys of the definition, or changed since: ${bad.join(', ')}${stderr.trim() === '' ? '' : ` (${stderr.trim().split('\n')[0] ?? ''})`}`, {
    hint: `the keys that count are ${options.keys.join(', ')}; name another mirror if they are right`,
  });
}
