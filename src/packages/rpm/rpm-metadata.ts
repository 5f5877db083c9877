import { existsSync, linkSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { TemplatefsError } from '../../core/errors.js';
import { makeFolders } from '../../store/make-folders.js';
import { makeFolder, writeFileDurably } from '../../store/write-file-durably.js';
import { downloadChecked } from '../download-checked.js';
import { downloadText } from '../download.js';
import type { PackageHost, PackageSource } from '../package-manager.js';
import { checkDetachedSignature } from '../signatures.js';
import { readRepomd, type MetadataFile, type Repomd } from './repomd.js';

const REPOMD_LIMIT_BYTES = 4 << 20;
const SIGNATURE_LIMIT_BYTES = 1 << 20;
/** Fedora's largest file, filelists, has some 60 MB. */
const FILE_LIMIT_BYTES = 1 << 30;
const MIRRORS_TRIED = 5;

/** A repository, or a list of mirrors of one. */
interface Origin {
  readonly url: string;
  readonly isMirrorList: boolean;
}

/** What `state.json` of a repository's folder says: what makes the other files count. */
interface RepositoryState {
  /** ms since 1970 */
  readonly fetched: number;
  /** Without a slash at its end. */
  readonly baseUrl: string;
  /** The signed document and its signature, armored. */
  readonly repomd: string;
  readonly signature: string;
}

/** The checked metadata of one repository, in the cache. */
export interface RepositoryMetadata {
  readonly baseUrl: string;
  readonly repomd: Repomd;
  /** Where the file lies in the cache. */
  pathOf(file: MetadataFile): string;
}

function originsOf(source: PackageSource): Origin[] {
  return [
    ...source.repositories.map(({ uri }) => ({ url: uri.replace(/\/+$/, ''), isMirrorList: false })),
    ...source.mirrorLists.map((url) => ({ url, isMirrorList: true })),
  ];
}

function folderOf(host: PackageHost, source: PackageSource, origin: Origin): string {
  // Keys are part of the key: metadata that another definition's keys vouch for say nothing here.
  return host.cache.metadataFolder('rpm', JSON.stringify([origin, [...source.keys].sort()]));
}

const readState = (host: PackageHost, folder: string): RepositoryState | undefined => host.cache.metadataState(folder) as RepositoryState | undefined;

const signalOf = (host: PackageHost): { signal?: AbortSignal } => (host.signal === undefined ? {} : { signal: host.signal });

/** Which of a list's mirrors to ask, the first one first: of a metalink, or of one URL a line. */
export function readMirrorList(text: string): string[] {
  const end = '/repodata/repomd.xml';
  const urls = /<metalink\b/.test(text)
    ? [...text.matchAll(/<url\b[^>]*>\s*([^<\s]+)\s*<\/url>/g)].map(([, url = '']) => url).filter((url) => url.endsWith(end)).map((url) => url.slice(0, -end.length))
    : text.split('\n').map((line) => line.trim());
  return urls.filter((url) => /^https?:\/\/[^\s[\]"'\\$]+$/.test(url)).map((url) => url.replace(/\/+$/, '')).slice(0, MIRRORS_TRIED);
}

async function baseUrlsOf(host: PackageHost, { url, isMirrorList }: Origin): Promise<string[]> {
  if (!isMirrorList) return [url];
  const urls = readMirrorList((await downloadText(url, { limitBytes: REPOMD_LIMIT_BYTES, ...signalOf(host) })).toString('utf8'));
  if (urls.length > 0) return urls;
  throw new TemplatefsError('NO_MIRROR', `${url} names no mirror`, { hint: 'name one in the file repositories of the definition' });
}

const isUnreachable = (error: unknown): boolean => error instanceof TemplatefsError && error.code === 'NO_MIRROR';

/** What the first mirror says that answers. @throws NO_MIRROR, INTEGRITY when there is no signature */
async function fetchRepomd(host: PackageHost, origin: Origin): Promise<RepositoryState> {
  const urls = await baseUrlsOf(host, origin);
  for (const [index, baseUrl] of urls.entries()) {
    const what = `${baseUrl}/repodata/repomd.xml`;
    let repomd: Buffer;
    try {
      repomd = await downloadText(what, { limitBytes: REPOMD_LIMIT_BYTES, ...signalOf(host) });
    } catch (error) {
      if (index === urls.length - 1 || !isUnreachable(error)) throw error;
      continue;
    }
    let signature: Buffer;
    try {
      signature = await downloadText(`${what}.asc`, { limitBytes: SIGNATURE_LIMIT_BYTES, ...signalOf(host) });
    } catch (error) {
      if (!isUnreachable(error)) throw error;
      throw new TemplatefsError('INTEGRITY', `${what} is not signed: there is no repomd.xml.asc beside it`, { hint: 'only repositories with signed metadata are used', cause: error });
    }
    return { fetched: Date.now(), baseUrl, repomd: repomd.toString('utf8'), signature: signature.toString('latin1') };
  }
  throw new Error('a list of mirrors without any');
}

/** Also asked of what is in the cache: the key may have expired since, or the definition may have dropped it. @throws INTEGRITY */
async function checkState(source: PackageSource, state: RepositoryState): Promise<Repomd> {
  const what = `${state.baseUrl}/repodata/repomd.xml`;
  await checkDetachedSignature({ name: what, keys: source.keys }, Buffer.from(state.repomd, 'utf8'), Buffer.from(state.signature, 'latin1'));
  return readRepomd(state.repomd, what);
}

/** Files of the cache are named by their sums. */
const fileName = ({ sum }: MetadataFile): string => sum;

async function refreshRepository(host: PackageHost, source: PackageSource, origin: Origin, maxAgeMs: number): Promise<void> {
  const folder = folderOf(host, source, origin);
  const before = readState(host, folder);
  if (before !== undefined && Date.now() - before.fetched < maxAgeMs && before.fetched <= Date.now()) {
    await checkState(source, before);
    return;
  }
  let state: RepositoryState;
  try {
    state = await fetchRepomd(host, origin);
  } catch (error) {
    if (before === undefined || !isUnreachable(error)) throw error;
    await checkState(source, before);
    host.onNotice?.(`${origin.url} cannot be reached; its metadata of ${new Date(before.fetched).toISOString()} are used`);
    return;
  }
  const repomd = await checkState(source, state);
  if (before !== undefined) {
    const had = readRepomd(before.repomd, origin.url);
    if (repomd.timestamp < had.timestamp) {
      // A mirror that lags behind, or that replays what it once had.
      await checkState(source, before);
      host.onNotice?.(`${origin.url} offers metadata of ${new Date(repomd.timestamp * 1000).toISOString()}, older than those that were fetched before; the newer ones are used`);
      return;
    }
  }
  makeFolder(folder);
  for (const file of repomd.files) {
    const path = join(folder, fileName(file));
    const { algorithm, sum } = file;
    if (!existsSync(path)) await downloadChecked({ url: `${state.baseUrl}/${file.href}`, limitBytes: FILE_LIMIT_BYTES, algorithm, sum }, path, signalOf(host));
  }
  writeFileDurably(join(folder, 'state.json'), JSON.stringify(state));
  const wanted = new Set(['state.json', ...repomd.files.map(fileName)]);
  for (const name of readdirSync(folder)) if (!wanted.has(name)) rmSync(join(folder, name), { force: true });
}

/** Fetches and checks the metadata of all repositories of `source`. @throws INTEGRITY, NO_MIRROR */
export async function refreshRpm(host: PackageHost, source: PackageSource, maxAgeMs: number): Promise<void> {
  const origins = originsOf(source);
  for (const [done, origin] of origins.entries()) {
    host.onProgress?.({ step: 'fetching metadata', done, total: origins.length, unit: 'items' });
    await refreshRepository(host, source, origin, maxAgeMs);
  }
}

/** The checked metadata that are in the cache. @throws FAILED when `refresh` was never done, INTEGRITY when they count no more */
export async function rpmMetadata(host: PackageHost, source: PackageSource): Promise<RepositoryMetadata[]> {
  const found: RepositoryMetadata[] = [];
  for (const origin of originsOf(source)) {
    const folder = folderOf(host, source, origin);
    const state = readState(host, folder);
    if (state === undefined) throw new TemplatefsError('FAILED', `the metadata of ${origin.url} were never fetched`, { hint: `templatefs fetch ${source.template}` });
    found.push({ baseUrl: state.baseUrl, repomd: await checkState(source, state), pathOf: (file) => join(folder, fileName(file)) });
  }
  return found;
}

/** Makes a repository for a container's package manager in `folder`: of what was checked, and without its packages. */
export function writeLocalRepository(folder: string, metadata: RepositoryMetadata): void {
  makeFolders(join(folder, 'repodata'));
  for (const file of metadata.repomd.files) {
    const path = join(folder, file.href);
    makeFolders(dirname(path));
    linkSync(metadata.pathOf(file), path);
  }
  writeFileSync(join(folder, 'repodata/repomd.xml'), metadata.repomd.text);
}
