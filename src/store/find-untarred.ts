import { spawn } from 'node:child_process';
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { TemplatefsError } from '../core/errors.js';
import type { RawName } from './raw-names.js';
import type { TarMember } from './tar-member.js';

const FIND_ARGUMENTS = ['.', '(', '-type', 's', '-o', '-links', '+1', '-type', 'b,c,p', ')', '-print0'];
const NANO = 1_000_000_000n;

/**
 * What GNU tar leaves out of an archive, as members that are to follow it: sockets, which tar does not know (their
 * xattrs are not read), and the second and further names of devices and fifos, which tar makes inodes of their own.
 */
export async function findUntarred(folder: string, signal: AbortSignal | undefined): Promise<TarMember[]> {
  const members: TarMember[] = [];
  const firstNames = new Map<string, RawName>();
  for (const path of (await list(folder, signal)).sort()) {
    const stat = await lstat(Buffer.concat([Buffer.from(join(folder, '/')), Buffer.from(path, 'latin1')]), { bigint: true });
    const inode = `${stat.dev}:${stat.ino}`;
    const target = firstNames.get(inode);
    firstNames.set(inode, target ?? path);
    if (target === undefined && !stat.isSocket()) continue;
    // BigInt division rounds towards zero; seconds are rounded down.
    const nanoseconds = ((stat.mtimeNs % NANO) + NANO) % NANO;
    members.push({
      path,
      offset: 0,
      kind: target === undefined ? 'node' : 'link',
      mode: Number(stat.mode),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mtimeSeconds: Number((stat.mtimeNs - nanoseconds) / NANO),
      mtimeNanoseconds: Number(nanoseconds),
      major: 0,
      minor: 0,
      target: target ?? '',
      size: 0,
      segments: undefined,
      xattrs: [],
    });
  }
  return members;
}

/** Paths below the folder, raw. */
function list(folder: string, signal: AbortSignal | undefined): Promise<RawName[]> {
  return new Promise((resolve, reject) => {
    const child = spawn('find', FIND_ARGUMENTS, {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(signal === undefined ? {} : { signal }),
    });
    const output: Buffer[] = [];
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = `${stderr}${text}`.slice(-4096)));
    child.on('error', (cause) => {
      reject(new TemplatefsError('FAILED', `cannot run find: ${cause.message}`, { hint: 'install findutils', cause }));
    });
    child.on('close', (code, killedBy) => {
      if (code === 0) resolve(Buffer.concat(output).toString('latin1').split('\0').slice(0, -1));
      else reject(new TemplatefsError('FAILED', `find failed (${killedBy ?? `exit ${String(code)}`}): ${stderr.trim()}`));
    });
  });
}
