import { spawn } from 'node:child_process';
import { PassThrough, type Readable } from 'node:stream';
import { TemplatefsError } from '../core/errors.js';
import type { RawName } from './raw-names.js';

/*
 * GNU tar reads the folder: it knows xattrs, holes, hard links and every byte in a name, none of which Node.js does.
 * - ACLs come as the kernel's xattrs, which `--xattrs-include=*` takes along; as text (`--acls`) they would hold the names
 *   that this machine gives to users.
 * - atime and ctime are no part of a tree.
 */
const TAR_ARGUMENTS = [
  '--create',
  '--format=pax',
  '--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime',
  '--xattrs',
  '--xattrs-include=*',
  '--no-acls',
  '--no-selinux',
  '--sparse',
  // The later forms put the number of tar's process into the archive.
  '--sparse-version=0.0',
  '--numeric-owner',
  '--sort=name',
  '--warning=no-file-ignored',
  '--file=-',
] as const;

const PIPE_BYTES = 1 << 20;

export interface PackOptions {
  /** Leaves out what is mounted below the folder. */
  readonly oneFileSystem: boolean;
  /** Only these, as raw paths from `/`, in this order, and nothing that is below them; else everything. */
  readonly members?: readonly RawName[];
}

/** A folder as an archive, while tar reads it. */
export interface PackedFolder {
  readonly archive: Readable;
  /** Why tar failed; undefined when it did not. */
  readonly ended: Promise<TemplatefsError | undefined>;
  /** Whether tar has found that something changed while it read: exit 1. */
  hasChanged(): boolean;
  /** Whether somebody ended it. */
  wasStopped(): boolean;
  stop(): Promise<void>;
}

/** Packs a folder with everything that tar knows; the same folder gives the same bytes. */
export function packFolder(folder: string, options: PackOptions): PackedFolder {
  const more = options.oneFileSystem ? ['--one-file-system'] : [];
  const what = options.members === undefined ? ['.'] : ['--no-recursion', '--null', '--verbatim-files-from', '--files-from=-'];
  const tar = spawn('tar', [...TAR_ARGUMENTS, ...more, `--directory=${folder}`, ...what], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C', TAR_OPTIONS: '' },
  });
  // One that fails early does not read all of them: its status tells.
  tar.stdin.on('error', () => undefined);
  tar.stdin.end(Buffer.from((options.members ?? []).map((path) => `.${path}\0`).join(''), 'latin1'));
  let stderr = '';
  tar.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = `${stderr}${text}`.slice(-4096)));
  const ended = new Promise<TemplatefsError | undefined>((resolve) => {
    tar.on('error', (cause) => {
      resolve(new TemplatefsError('FAILED', `cannot run tar: ${cause.message}`, { hint: 'install GNU tar', cause }));
    });
    tar.on('close', (code, signal) => {
      if (code === 0) resolve(undefined);
      else resolve(tarFailed(code, signal, stderr.trim()));
    });
  });
  return {
    // Piped at once: Node.js throws away what a child has written when it ends before anybody reads.
    archive: tar.stdout.pipe(new PassThrough({ highWaterMark: PIPE_BYTES })),
    ended,
    hasChanged: () => tar.exitCode === 1,
    wasStopped: () => tar.signalCode !== null,
    stop: async () => {
      tar.kill('SIGKILL');
      await ended;
    },
  };
}

/** Exit 1 of GNU tar means that files changed while it read them. */
function tarFailed(code: number | null, signal: NodeJS.Signals | null, stderr: string): TemplatefsError {
  return new TemplatefsError('FAILED', `tar failed (${signal ?? `exit ${String(code)}`}): ${stderr}`, {
    hint: code === 1 ? 'stop what writes to the folder, then do it again' : 'nothing was made of it',
  });
}
