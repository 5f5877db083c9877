import { createHash } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { errnoOf, storeWriteError, TemplatefsError } from '../../core/errors.js';
import { decompress } from '../../store/decompress.js';
import { publishDraft } from '../../store/draft-file.js';
import { makeFolder, writeFileDurably } from '../../store/write-file-durably.js';
import type { Repository } from '../../templates/definition.js';
import { DEBIAN_ARCHITECTURES } from '../../templates/mmdebstrap-arguments.js';
import { notAsDescribed } from '../download-checked.js';
import { downloadText } from '../download.js';
import type { PackageHost, PackageSource } from '../package-manager.js';
import { openClearSigned } from '../signatures.js';
import { PackageIndexWriter } from './package-index.js';
import { parseReleaseFile, type ReleaseEntry, type ReleaseFile } from './release-file.js';

/** An InRelease of Debian has 150 kB. */
const RELEASE_LIMIT_BYTES = 16 << 20;
/** Debian's largest index has 9 MB as .xz. */
const INDEX_LIMIT_BYTES = 512 << 20;

/** What `state.json` of a repository's folder says. The other files are named by it, so it is what makes them count. */
interface RepositoryState {
  /** ms since 1970 */
  readonly fetched: number;
  /** As the Release file says it, in ms. */
  readonly date: number;
  /** The signed document, and the text that was signed. */
  readonly inRelease: string;
  readonly release: string;
  /** File name of the index, after the hashes of what it was made of. */
  readonly index: string;
}

/** The checked metadata of one repository, in the cache. */
export interface RepositoryMetadata {
  readonly repository: Repository;
  readonly inRelease: string;
  readonly indexFile: string;
}

export function debianArchitecture(source: Pick<PackageSource, 'architecture'>): string {
  return DEBIAN_ARCHITECTURES[source.architecture] ?? source.architecture;
}

function folderOf(host: PackageHost, source: PackageSource, repository: Repository): string {
  // Keys are part of the key: metadata that another definition's keys vouch for say nothing here.
  return host.cache.metadataFolder('apt', JSON.stringify([repository, debianArchitecture(source), [...source.keys].sort()]));
}

const readState = (host: PackageHost, folder: string): RepositoryState | undefined => host.cache.metadataState(folder) as RepositoryState | undefined;

const nameOf = ({ uri, suite }: Repository): string => `${uri} ${suite}`;

function indexEntry(release: ReleaseFile, repository: Repository, component: string, arch: string): ReleaseEntry {
  for (const suffix of ['.xz', '.gz', '']) {
    const entry = release.entries.get(`${component}/binary-${arch}/Packages${suffix}`);
    if (entry !== undefined && entry.sizeBytes > 0) return entry;
  }
  throw new TemplatefsError('INTEGRITY', `${nameOf(repository)} has no component ${component} for ${arch}`, { hint: 'check the definition’s file repositories' });
}

async function fetchEntry(host: PackageHost, repository: Repository, release: ReleaseFile, entry: ReleaseEntry): Promise<Buffer> {
  const base = `${repository.uri}/dists/${repository.suite}`;
  // By hash, so that a mirror in the middle of an update does no harm.
  const path = release.acquireByHash ? entry.path.replace(/[^/]*$/, `by-hash/SHA256/${entry.sha256}`) : entry.path;
  const bytes = await downloadText(`${base}/${path}`, { limitBytes: Math.min(entry.sizeBytes, INDEX_LIMIT_BYTES), ...(host.signal !== undefined && { signal: host.signal }) });
  if (bytes.length !== entry.sizeBytes || createHash('sha256').update(bytes).digest('hex') !== entry.sha256) {
    throw notAsDescribed(`${base}/${path}`);
  }
  return bytes;
}

async function buildIndex(host: PackageHost, repository: Repository, release: ReleaseFile, entries: ReadonlyMap<string, ReleaseEntry>, file: string): Promise<void> {
  const draft = `${file}.tmp-${process.pid}`;
  let writer: PackageIndexWriter | undefined;
  try {
    writer = new PackageIndexWriter(draft);
    for (const [component, entry] of entries) {
      const bytes = await fetchEntry(host, repository, release, entry);
      const decoder = new StringDecoder('utf8');
      let total = 0;
      for await (const piece of decompress(oneBuffer(bytes))) {
        total += piece.length;
        if (total > INDEX_LIMIT_BYTES) throw new TemplatefsError('INTEGRITY', `${nameOf(repository)}: its index of ${component} unpacks to more than 512 MiB`, { hint: 'the repository is broken' });
        writer.add(component, decoder.write(piece));
      }
      writer.endComponent(component);
    }
    writer.finish();
    // Before state.json names it: an index that is empty after a power loss would be taken for one that is there.
    publishDraft(draft, file);
  } catch (error) {
    writer?.abandon();
    rmSync(draft, { force: true });
    throw indexError(error, file);
  }
}

/** SQLite has errors of its own for a disk that is full, or fails. */
function indexError(error: unknown, file: string): unknown {
  const code = errnoOf(error) ?? '';
  const hasNoRoom = code.startsWith('SQLITE_FULL');
  if (!hasNoRoom && !code.startsWith('SQLITE_IOERR')) return storeWriteError(error, file);
  return storeWriteError(Object.assign(new Error(code, { cause: error }), { code: hasNoRoom ? 'ENOSPC' : 'EIO' }), file);
}

async function* oneBuffer(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

async function refreshRepository(host: PackageHost, source: PackageSource, repository: Repository, maxAgeMs: number): Promise<void> {
  const folder = folderOf(host, source, repository);
  const before = readState(host, folder);
  if (before !== undefined && Date.now() - before.fetched < maxAgeMs && before.fetched <= Date.now()) {
    parseReleaseFile(before.release, repository); // may have expired since
    return;
  }
  const document = { name: nameOf(repository), keys: source.keys };
  let inRelease: Buffer;
  try {
    inRelease = await downloadText(`${repository.uri}/dists/${repository.suite}/InRelease`, { limitBytes: RELEASE_LIMIT_BYTES, ...(host.signal !== undefined && { signal: host.signal }) });
  } catch (error) {
    if (before === undefined || !(error instanceof TemplatefsError) || error.code !== 'NO_MIRROR') throw error;
    parseReleaseFile(before.release, repository);
    host.onNotice?.(`${nameOf(repository)} cannot be reached; its metadata of ${new Date(before.fetched).toISOString()} are used`);
    return;
  }
  const text = await openClearSigned(document, inRelease);
  const release = parseReleaseFile(text, repository);
  if (before !== undefined && release.date < before.date) {
    // A mirror that lags behind, or that replays what it once had.
    host.onNotice?.(`${nameOf(repository)} offers metadata of ${new Date(release.date).toISOString()}, older than those that were fetched before; the newer ones are used`);
    parseReleaseFile(before.release, repository);
    return;
  }
  const arch = debianArchitecture(source);
  const entries = new Map(repository.components.map((component) => [component, indexEntry(release, repository, component, arch)]));
  const index = `${createHash('sha256').update([...entries].map(([component, { sha256 }]) => `${component} ${sha256}\n`).join('')).digest('hex').slice(0, 32)}.sqlite`;
  makeFolder(folder);
  if (before?.index !== index || !readdirSync(folder).includes(index)) await buildIndex(host, repository, release, entries, join(folder, index));
  const state: RepositoryState = { fetched: Date.now(), date: release.date, inRelease: inRelease.toString('latin1'), release: text, index };
  writeFileDurably(join(folder, 'state.json'), JSON.stringify(state));
  for (const name of readdirSync(folder)) if (name.endsWith('.sqlite') && name !== index) rmSync(join(folder, name), { force: true });
}

/** Fetches and checks the metadata of all repositories of `source`. @throws INTEGRITY, NO_MIRROR */
export async function refreshApt(host: PackageHost, source: PackageSource, maxAgeMs: number): Promise<void> {
  for (const [done, repository] of source.repositories.entries()) {
    host.onProgress?.({ step: 'fetching metadata', done, total: source.repositories.length, unit: 'items' });
    await refreshRepository(host, source, repository, maxAgeMs);
  }
}

/** The checked metadata that are in the cache. @throws FAILED when `refresh` was never done, INTEGRITY when they have expired */
export function aptMetadata(host: PackageHost, source: PackageSource): RepositoryMetadata[] {
  return source.repositories.map((repository) => {
    const folder = folderOf(host, source, repository);
    const state = readState(host, folder);
    if (state === undefined) throw new TemplatefsError('FAILED', `the metadata of ${nameOf(repository)} were never fetched`, { hint: `templatefs fetch ${source.template}` });
    parseReleaseFile(state.release, repository);
    return { repository, inRelease: state.inRelease, indexFile: join(folder, state.index) };
  });
}
