import { appendFileSync, copyFileSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StorePaths } from '../../../src/core/store-paths.js';
import { PackageCache } from '../../../src/packages/package-cache.js';
import type { PackageHost, PackageSource } from '../../../src/packages/package-manager.js';
import { findInPrimary, packageId } from '../../../src/packages/rpm/find-in-primary.js';
import { readMirrorList, refreshRpm, rpmMetadata, writeLocalRepository, type RepositoryMetadata } from '../../../src/packages/rpm/rpm-metadata.js';
import { checkPackageSignatures } from '../../../src/packages/rpm/rpm-keyring.js';
import { readXml } from '../../../src/packages/xml.js';
import { buildRpm, RpmRepository } from '../../support/rpm-repository.js';
import { useFolderServers } from '../../support/serve-folder.js';
import { SigningKey, type SigningKeyOptions } from '../../support/signing-key.js';
import { flipByte } from '../../support/store-damage.js';

/* What of repositories of RPMs is believed, and what is refused: on the host, before anything of it reaches a container. */
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'templatefs-rpm-trust-test-')));
const at = (name: string): string => mkdtempSync(join(folder, `${name}-`));
const serve = useFolderServers();
const made: SigningKey[] = [];
const makeKey = async (name: string, options?: SigningKeyOptions): Promise<SigningKey> => {
  const key = await SigningKey.make(at('key'), name, options);
  made.push(key);
  return key;
};
let key: SigningKey;
let other: SigningKey;
let expired: SigningKey;
let packages: string[] = [];

beforeAll(async () => {
  [key, other, expired] = await Promise.all([makeKey('good'), makeKey('other'), makeKey('old', { isExpired: true })]);
  packages = await Promise.all([buildRpm(at('v'), { name: 'sample', version: '1' }, { key }), buildRpm(at('v'), { name: 'sample', version: '2' }, { key })]);
});
afterAll(async () => {
  await Promise.all(made.map((one) => one.close()));
  rmSync(folder, { recursive: true });
});

/** The host's side of a store of its own. */
function makeHost(): { host: PackageHost; notices: string[] } {
  const notices: string[] = [];
  return { host: { cache: new PackageCache(new StorePaths(at('store'))), makeWorkFolder: async () => at('work'), onNotice: (text) => notices.push(text) }, notices };
}

const sourceOf = (url: string, keys: readonly string[], isMirrorList = false): PackageSource => ({
  template: 't', keys, architecture: 'x86_64', release: '1',
  repositories: isMirrorList ? [] : [{ uri: url, suite: '', components: [] }],
  mirrorLists: isMirrorList ? [url] : [],
});

/** What the host believes of a source. */
async function fetched(host: PackageHost, source: PackageSource, maxAgeMs = 0): Promise<RepositoryMetadata> {
  await refreshRpm(host, source, maxAgeMs);
  const [first] = await rpmMetadata(host, source);
  if (first === undefined) throw new Error('no repository');
  return first;
}

interface Published {
  readonly repository: RpmRepository;
  readonly fetch: (keys?: readonly string[], maxAgeMs?: number) => Promise<RepositoryMetadata>;
  readonly notices: readonly string[];
}

async function published(signer: SigningKey | undefined): Promise<Published> {
  const repository = new RpmRepository(at('repository'));
  await repository.publish({ packages, key: signer });
  const { host, notices } = makeHost();
  return { repository, notices, fetch: (keys = [key.keyring], maxAgeMs) => fetched(host, sourceOf(`${repository.url}/`, keys), maxAgeMs) };
}

describe('metadata', () => {
  test('signed by a key of the definition: what is there, with its sums', async () => {
    const { repository, fetch } = await published(key);
    const metadata = await fetch();
    expect(metadata.baseUrl).toBe(repository.url);
    const wanted = ['1', '2', '3'].map((version) => packageId({ name: 'sample', version, release: '1', architecture: 'noarch' }));
    const found = await findInPrimary(metadata.pathOf(metadata.repomd.primary), new Set(wanted), 'r');
    expect([...found.keys()].sort()).toEqual(['sample-1-1.noarch', 'sample-2-1.noarch']);
    expect(found.get('sample-2-1.noarch')).toMatchObject({ href: 'sample-2-1.noarch.rpm', sizeBytes: readFileSync(packages[1] ?? '').length, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string });
    // The parts that nobody needs are not there, and nothing says that they were.
    const local = at('local');
    writeLocalRepository(local, metadata);
    const listed = readFileSync(join(local, 'repodata/repomd.xml'), 'utf8');
    expect(listed).toContain('type="primary"');
    expect(listed).not.toContain('type="other"');
    expect(readFileSync(join(local, 'repodata', basename(repository.primaryFile)))).toEqual(readFileSync(repository.primaryFile));
  });

  test('are kept: for a while without asking, and when no mirror can be reached; never older ones for newer ones', async () => {
    const { repository, fetch, notices } = await published(key);
    const first = await fetch();
    const before = readFileSync(repository.metadataFile);
    const signature = readFileSync(`${repository.metadataFile}.asc`);
    rmSync(join(repository.folder, 'repodata'), { recursive: true });
    expect((await fetch([key.keyring], 60_000)).repomd).toEqual(first.repomd);
    expect(notices).toEqual([]);
    expect((await fetch()).repomd).toEqual(first.repomd);
    expect(notices).toEqual([expect.stringContaining('cannot be reached')]);
    // Keys that the definition does not have any more vouch for nothing, in the cache neither.
    await expect(fetch([other.keyring], 60_000)).rejects.toMatchObject({ code: 'NO_MIRROR' });
    await repository.publish({ packages: packages.slice(0, 1), key, time: new Date(Date.now() + 3_600_000) });
    const newer = await fetch();
    expect(newer.repomd.primary).not.toEqual(first.repomd.primary);
    writeFileSync(repository.metadataFile, before);
    writeFileSync(`${repository.metadataFile}.asc`, signature);
    expect((await fetch()).repomd).toEqual(newer.repomd);
    expect(notices[1]).toContain('older than those');
  });

  test('over HTTP, by a list of mirrors whose first is out of order; and a metalink', async () => {
    const { repository } = await published(key);
    const server = await serve(repository.folder);
    writeFileSync(join(repository.folder, 'mirrors'), `# all\nhttp://127.0.0.1:9/nothing\n${server.url}/\n`);
    expect((await fetched(makeHost().host, sourceOf(`${server.url}/mirrors`, [key.keyring], true))).baseUrl).toBe(server.url);
    expect(readMirrorList('<metalink><url protocol="https">https://a.example/x/repodata/repomd.xml</url><url>rsync://b/repodata/repomd.xml</url></metalink>')).toEqual(['https://a.example/x']);
  });

  test.each([
    ['not signed', () => published(undefined), /is not signed/],
    ['signed by another key', () => published(other), /signed by a key that the definition does not have/],
    ['changed after it was signed', async () => {
      const { repository, fetch } = await published(key);
      appendFileSync(repository.metadataFile, '<!-- -->');
      return { repository, fetch };
    }, /it was changed/],
    ['with another list of packages', async () => {
      const { repository, fetch } = await published(key);
      flipByte(repository.primaryFile, 30);
      return { repository, fetch };
    }, /is not the file that the signed metadata name|longer than/],
    ['that names a file outside', async () => {
      const { repository, fetch } = await published(key);
      writeFileSync(repository.metadataFile, readFileSync(repository.metadataFile, 'utf8').replaceAll('repodata/primary', '../../primary'));
      await key.sign(repository.metadataFile, `${repository.metadataFile}.asc`, 'detached');
      return { repository, fetch };
    }, /outside of the repository/],
    ['with sums that prove nothing', async () => {
      const { repository, fetch } = await published(key);
      writeFileSync(repository.metadataFile, readFileSync(repository.metadataFile, 'utf8').replace(/<checksum type="sha256">[0-9a-f]{24}/, '<checksum type="sha1">'));
      await key.sign(repository.metadataFile, `${repository.metadataFile}.asc`, 'detached');
      return { repository, fetch };
    }, /not SHA-256 or better/],
  ])('%s: refused', async (_, make, message) => {
    const { fetch } = await make();
    await expect(fetch()).rejects.toMatchObject({ code: 'INTEGRITY', message: expect.stringMatching(message) as string });
  });

  test('signed by a key that has expired, also if the definition names it: refused', async () => {
    const { fetch } = await published(expired);
    await expect(fetch([expired.armored, key.keyring])).rejects.toMatchObject({ code: 'INTEGRITY', message: expect.stringMatching(/has expired/) as string });
  });
});

const check = (files: readonly string[], keys: readonly string[]): Promise<void> =>
  checkPackageSignatures(files.map((path) => ({ path, fileName: basename(path) })), { keys, workFolder: at('work') });

describe('packages', () => {
  test('signed by a key of the definition; several keys in one file', async () => {
    const both = join(at('keys'), 'both.asc');
    writeFileSync(both, readFileSync(other.armored, 'utf8') + readFileSync(key.armored, 'utf8'));
    await check(packages, [both]);
  });

  test.each([
    ['not signed', () => buildRpm(at('v'), { name: 'sample', version: '3' })],
    ['signed by another key', () => buildRpm(at('v'), { name: 'sample', version: '3' }, { key: other })],
    ['signed by a key that has expired', () => buildRpm(at('v'), { name: 'sample', version: '3' }, { key: expired })],
    ['with another content', async () => {
      const file = join(at('v'), 'sample-3-1.noarch.rpm');
      copyFileSync(packages[0] ?? '', file);
      flipByte(file, readFileSync(file).length - 20);
      return file;
    }],
    ['with another header', async () => {
      const file = join(at('v'), 'sample-3-1.noarch.rpm');
      copyFileSync(packages[0] ?? '', file);
      flipByte(file, readFileSync(file).indexOf('sample', 200));
      return file;
    }],
    ['that is no package', async () => {
      const file = join(at('v'), 'sample-3-1.noarch.rpm');
      writeFileSync(file, 'no package');
      return file;
    }],
  ])('%s: refused by name, the good ones beside it are not', async (_, make) => {
    const error = await check([...packages, await make()], [key.keyring, expired.keyring]).then(() => undefined, (thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'INTEGRITY', message: expect.stringContaining('sample-3-1.noarch.rpm') as string });
    expect((error as Error).message).not.toContain('sample-1-1');
  });

  test('keyrings that are not there, or are none', async () => {
    await expect(check(packages, ['/nowhere/key.gpg'])).rejects.toMatchObject({ code: 'FAILED', message: expect.stringContaining('/nowhere/key.gpg') as string });
    const text = join(at('keys'), 'text.gpg');
    writeFileSync(text, 'no keyring');
    await expect(check(packages, [text])).rejects.toMatchObject({ code: 'INTEGRITY', message: expect.stringContaining('no keyrings') as string });
  });
});

describe('XML', () => {
  test('elements, attributes, entities, comments', () => {
    const root = readXml('<?xml version="1.0"?>\n<a x="1 &lt; 2" y=\'&#65;\'><!-- <b/> --><rpm:b/>one <![CDATA[<two>]]><c>three</c></a>\n', 'x');
    expect(root).toEqual({ name: 'a', attributes: { x: '1 < 2', y: 'A' }, text: 'one <two>', children: [{ name: 'rpm:b', attributes: {}, children: [], text: '' }, { name: 'c', attributes: {}, children: [], text: 'three' }] });
  });

  test.each(['', 'text', '<a>', '<a></b>', '<a/><b/>', '<a x=1/>', '<a>&evil;</a>', '<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>', '<a', '<a>'.repeat(101)])('not well-formed: %.40j', (text) => {
    expect(() => readXml(text, 'x')).toThrow(expect.objectContaining({ code: 'INTEGRITY' }) as Error);
  });
});
