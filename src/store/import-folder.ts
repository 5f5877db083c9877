import { spawn, type ChildProcess } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { PassThrough } from 'node:stream';
import { errnoOf, TemplatefsError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import type { ImportResult } from './finish-import.js';
import { findUntarred } from './find-untarred.js';
import { importStream, type ImportOptions } from './import-tar.js';

/*
 * GNU tar reads the folder: it knows xattrs, holes, hard links and every byte in a name, none of which Node.js does.
 * - ACLs come as the kernel's xattrs, which `--xattrs-include=*` takes along; as text (`--acls`) they would hold the names
 *   that this machine gives to users.
 * - atime and ctime are no part of a tree.
 * - There is no --one-file-system: what is mounted below the folder is a part of what is seen there.
 */
const TAR_ARGUMENTS = [
  '--create',
  '--format=pax',
  '--pax-option=delete=atime,delete=ctime',
  '--xattrs',
  '--xattrs-include=*',
  '--no-acls',
  '--no-selinux',
  '--sparse',
  '--numeric-owner',
  '--sort=name',
  '--warning=no-file-ignored',
  '--file=-',
] as const;

const PIPE_BYTES = 1 << 20;

/**
 * Imports a folder as it is: all inode types, owners, times, xattrs, ACLs, hard links and holes. Nothing may change in
 * the folder meanwhile; what GNU tar notices of that is an error. File systems mounted below it are taken along (so
 * unmount /proc and the like first); files whose other hard links lie outside have only the links inside.
 * The same folder gives the same tree; so does an archive that GNU tar makes of it with all of that.
 * @throws as `importTar`; FAILED when tar is missing, fails or finds that a file changed
 */
export async function importFolder(paths: StorePaths, folder: string, options: ImportOptions = {}): Promise<ImportResult> {
  await checkFolder(folder);
  const tar = spawn('tar', [...TAR_ARGUMENTS, `--directory=${folder}`, '.'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C', TAR_OPTIONS: '' },
  });
  const ended = exitOf(tar);
  // Piped at once: Node.js throws away what a child has written when it ends before anybody reads.
  const archive = tar.stdout.pipe(new PassThrough({ highWaterMark: PIPE_BYTES }));
  try {
    return await importStream(paths, archive, options, async (hierarchy) => {
      const failure = await ended;
      if (failure !== undefined) throw failure;
      for (const member of await findUntarred(folder, options.signal)) hierarchy.place(member);
    });
  } catch (error) {
    if (error instanceof TemplatefsError && error.code === 'BAD_ARCHIVE') {
      // The stream of a tar that failed is cut short; why it failed says more. One that is killed below says nothing.
      const failure = await ended;
      if (failure !== undefined && tar.signalCode === null) throw failure;
    }
    throw error;
  } finally {
    tar.kill('SIGKILL');
    await ended;
  }
}

async function checkFolder(folder: string): Promise<void> {
  let isFolder: boolean;
  try {
    isFolder = (await stat(folder)).isDirectory();
  } catch (cause) {
    throw new TemplatefsError('FAILED', `cannot read ${folder}: ${errnoOf(cause) ?? String(cause)}`, { hint: 'name a folder or a tar archive', cause });
  }
  if (!isFolder) throw new TemplatefsError('FAILED', `${folder} is no folder`, { hint: 'name a folder or a tar archive' });
}

/** Why tar failed; undefined when it did not. */
function exitOf(tar: ChildProcess): Promise<TemplatefsError | undefined> {
  let stderr = '';
  tar.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr = `${stderr}${text}`.slice(-4096)));
  return new Promise((resolve) => {
    tar.on('error', (cause) => {
      resolve(new TemplatefsError('FAILED', `cannot run tar: ${cause.message}`, { hint: 'install GNU tar', cause }));
    });
    tar.on('close', (code, signal) => {
      if (code === 0) resolve(undefined);
      else resolve(tarFailed(code, signal, stderr.trim()));
    });
  });
}

/** Exit 1 of GNU tar means that files changed while it read them. */
function tarFailed(code: number | null, signal: NodeJS.Signals | null, stderr: string): TemplatefsError {
  return new TemplatefsError('FAILED', `tar failed (${signal ?? `exit ${String(code)}`}): ${stderr}`, {
    hint: code === 1 ? 'stop what writes to the folder, then import it again' : 'nothing was imported',
  });
}
