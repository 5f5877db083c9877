import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { TemplatefsError, errnoOf } from '../../src/core/errors.js';
import { bootstrapTemplate } from '../../src/templates/bootstrap-template.js';
import { loadDefinition } from '../../src/templates/load-definition.js';

const DEFINITION = 'debian-12-x86_64';

/** What makes the root one that people work in: many small files, deep folders, some big libraries. */
const MORE_PACKAGES = ['git', 'linux-libc-dev', 'perl', 'python3', 'tzdata', 'vim-runtime'];

export interface DebianRootOptions {
  /** Only what the definition of the template has. */
  readonly small: boolean;
  readonly cacheFolder: string;
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
}

/**
 * A real Debian 12 root as a tar, made once by mmdebstrap and kept in `cacheFolder`, so that later runs compare.
 *
 * @returns the file @throws NO_MIRROR and what bootstrapTemplate throws
 */
export async function makeDebianRoot({ small, cacheFolder, say, signal }: DebianRootOptions): Promise<string> {
  const definition = await loadDefinition(DEFINITION);
  const more = small ? [] : MORE_PACKAGES;
  const packages = { ...definition.packages, main: [...definition.packages.main, ...more] };
  const digest = createHash('sha256').update(JSON.stringify(packages)).digest('hex').slice(0, 12);
  const file = join(cacheFolder, `${DEFINITION}-${digest}.tar`);
  if (await exists(file)) return file;

  say(`Making a Debian root with mmdebstrap (once; kept for later runs): ${[DEFINITION, ...more].join(', ')}`);
  await mkdir(dirname(file), { recursive: true });
  const half = `${file}.half`;
  try {
    const { stream, finished } = bootstrapTemplate({ ...definition, packages }, { signal });
    const [written, tool] = await Promise.allSettled([pipeline(stream, createWriteStream(half)), finished]);
    // The tool's own error says why; the stream's only that it ended.
    if (tool.status === 'rejected') throw withTarHint(tool.reason);
    if (written.status === 'rejected') throw written.reason as Error;
    await rename(half, file);
  } finally {
    await rm(half, { force: true });
  }
  return file;
}

async function exists(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

function withTarHint(error: unknown): unknown {
  if (!(error instanceof TemplatefsError) || error.code === 'INTERRUPTED') return error;
  const orTar = 'or measure with a root of your own: npm run bench -- --tar FILE';
  return new TemplatefsError(error.code, error.message, { hint: error.hint === undefined ? orTar : `${error.hint}; ${orTar}`, cause: error });
}
