import { copyFileSync, existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildDeb, DebRepository } from '../../support/deb-repository.js';
import type { PackageContent } from '../../support/package-content.js';
import { buildRpm, RpmRepository } from '../../support/rpm-repository.js';
import { runOk, runProgram } from '../../support/run-program.js';
import { useFolderServers } from '../../support/serve-folder.js';
import { SigningKey } from '../../support/signing-key.js';
import { flipByte } from '../../support/store-damage.js';

/* What the tests of package managers rest on: good repositories are good and bad ones are bad, in the eyes of the real tools. */
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'templatefs-repositories-test-')));
const at = (name: string): string => mkdtempSync(join(folder, `${name}-`));
const serve = useFolderServers();
const keys: SigningKey[] = [];
const makeKey = async (...args: Parameters<typeof SigningKey.make>): Promise<SigningKey> => {
  const key = await SigningKey.make(...args);
  keys.push(key);
  return key;
};
let key: SigningKey;
let other: SigningKey;
let expired: SigningKey;
const sample = (version: string): PackageContent => ({
  name: 'sample', version,
  files: { '/etc/sample.conf': `setting ${version}\n`, '/opt/sample/run': { content: '#!/bin/sh\n', mode: 0o755 }, '/opt/sample/link': { linkTo: 'run' } },
  configuration: ['/etc/sample.conf'],
  scripts: { afterInstall: 'echo installed', beforeRemove: 'echo removed' },
});

beforeAll(async () => {
  [key, other, expired] = await Promise.all([makeKey(at('key'), 'good'), makeKey(at('key'), 'other'), makeKey(at('key'), 'old', { isExpired: true })]);
});
afterAll(async () => {
  await Promise.all(keys.map((made) => made.close()));
  rmSync(folder, { recursive: true });
});

/** The words by which gpgv tells its verdict. */
async function verdict(keyring: string, ...files: string[]): Promise<string> {
  const { stdout } = await runProgram('gpgv', ['--keyring', keyring, '--status-fd', '1', ...files]);
  return /\b(GOODSIG|BADSIG|EXPKEYSIG|ERRSIG|NODATA)\b/.exec(stdout)?.[1] ?? 'nothing';
}

describe('.deb', () => {
  test('two versions, signed by one key, another, an old one, none', async () => {
    const repository = new DebRepository(at('deb'));
    const packages = await Promise.all(['1', '2'].map((version) => buildDeb(folder, sample(version))));
    const signed = join(repository.folder, 'dists/stable/InRelease');
    for (const [signer, wanted] of [[key, 'GOODSIG'], [other, 'ERRSIG']] as const) {
      await repository.publish({ packages, key: signer });
      expect(await verdict(key.keyring, signed)).toBe(wanted);
    }
    await repository.publish({ packages, key: expired });
    expect(await verdict(expired.keyring, signed)).toBe('EXPKEYSIG');
    expect(readFileSync(repository.packagesFile, 'utf8').match(/^Version: .*/gm)).toEqual(['Version: 1', 'Version: 2']);
    expect(await runOk('dpkg-deb', ['--info', repository.poolFile('sample', '2'), 'postinst'])).toBe('#!/bin/sh\nset -e\necho installed\n');
    expect(await runOk('dpkg-deb', ['--contents', repository.poolFile('sample', '2')])).toMatch(/^-rwxr-xr-x root\/root .* \.\/opt\/sample\/run$/m);
    await repository.publish({ packages, key: undefined });
    expect(existsSync(signed)).toBe(false);
  });

  test('the date until which it counts; over HTTP', async () => {
    const repository = new DebRepository(at('deb'));
    const validUntil = new Date('2020-01-02T03:04:05Z');
    await repository.publish({ packages: [await buildDeb(folder, sample('3'))], key, validUntil });
    const server = await serve(repository.folder);
    const release = await fetch(`${server.url}/dists/stable/InRelease`);
    expect(await release.text()).toMatch(/^Date: Thu, 02 Jan 2020 03:04:04 GMT\nValid-Until: Thu, 02 Jan 2020 03:04:05 GMT$/m);
    expect((await fetch(`${server.url}/dists/stable/nothing`)).status).toBe(404);
    expect(server.requests).toEqual(['/dists/stable/InRelease', '/dists/stable/nothing']);
  });
});

describe('.rpm', () => {
  test('packages: two versions, signed by one key, another, none; tampered with', async () => {
    const database = at('database');
    await runOk('rpmkeys', ['--dbpath', database, '--import', key.armored]);
    const check = async (file: string): Promise<number | null> => (await runProgram('rpmkeys', ['--dbpath', database, '--define', '_pkgverify_level all', '--checksig', file])).status;
    const good = await buildRpm(at('good'), sample('1'), { key });
    expect(await check(good)).toBe(0);
    expect(await check(await buildRpm(at('other'), sample('2'), { key: other }))).toBe(1);
    expect(await check(await buildRpm(at('none'), sample('2')))).toBe(1);
    const changed = join(at('changed'), 'changed.rpm');
    copyFileSync(good, changed);
    flipByte(changed, readFileSync(changed).length - 20);
    expect(await check(changed)).toBe(1);
    expect(await runOk('rpm', ['--dbpath', database, '-qp', '--queryformat', '%{NAME} %{VERSION} [%{FILENAMES} %{FILEFLAGS:fflags} %{FILEUSERNAME};]', good])).toBe(
      'sample 1 /etc/sample.conf cn root;/opt/sample/link  root;/opt/sample/run  root;',
    );
  });

  test('metadata, signed by one key, another, an old one, none', async () => {
    const repository = new RpmRepository(at('rpm'));
    const packages = [await buildRpm(at('packages'), sample('1'), { key })];
    const files = [`${repository.metadataFile}.asc`, repository.metadataFile];
    for (const [signer, wanted] of [[key, 'GOODSIG'], [other, 'ERRSIG']] as const) {
      await repository.publish({ packages, key: signer });
      expect(await verdict(key.keyring, ...files)).toBe(wanted);
    }
    await repository.publish({ packages, key: expired });
    expect(await verdict(expired.keyring, ...files)).toBe('EXPKEYSIG');
    await repository.publish({ packages, key: undefined });
    expect(existsSync(`${repository.metadataFile}.asc`)).toBe(false);
    expect(existsSync(repository.primaryFile)).toBe(true);
  });
});
