import { readdir, readFile } from 'node:fs/promises';
import { lstatSync } from 'node:fs';
import { rootError } from './root-error.js';

/*
 * Whether a container runs: a process that is the first of a pid namespace and whose root is the mount of the container's root. So it is
 * with LXC, runc, crun, podman and systemd-nspawn, and none of them has to be asked.
 */

/** In the environment of our own sandbox, whose first process has such a root too: environment.ts. */
const OWN = 'container=templatefs';

async function textOf(proc: string, pid: string, file: string): Promise<string> {
  try {
    return await readFile(`${proc}/${pid}/${file}`, 'latin1');
  } catch {
    return ''; // it has ended
  }
}

/** The pids of a process, from the reader's namespace inwards. */
function pidsOf(status: string): string[] {
  return /^NSpid:\s*(.*)$/m.exec(status)?.[1]?.split(/\s+/) ?? [];
}

/** `0:53` of a root that is mounted there. The numbers are split as the kernel's makedev does it. */
function deviceOf(root: string): string {
  const dev = (() => {
    try {
      return lstatSync(root).dev;
    } catch (error) {
      throw rootError(root, error);
    }
  })();
  return `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >>> 12) & 0xfff00)}`;
}

/** Reads tables only: a look at the root itself would wait for whoever serves it. */
async function hasRoot(proc: string, pid: string, device: string): Promise<boolean> {
  // 711 690 0:53 / / rw,relatime - fuse.templatefs …
  const roots = (await textOf(proc, pid, 'mountinfo')).split('\n').map((line) => line.split(' ')).filter((fields) => fields[4] === '/');
  return roots.at(-1)?.[2] === device && roots.at(-1)?.[3] === '/';
}

/**
 * Finds the first process of a container that a runtime has started on `root`; where there are several, one in another, the outermost.
 *
 * @returns its pid; undefined when nothing runs there in a pid namespace of its own
 */
export async function findFirstProcess(root: string, proc = '/proc'): Promise<number | undefined> {
  const device = deviceOf(root);
  let found: { readonly pid: number; readonly depth: number } | undefined;
  for (const pid of await readdir(proc)) {
    if (!/^[0-9]+$/.test(pid)) continue;
    const pids = pidsOf(await textOf(proc, pid, 'status'));
    const depth = pids.length;
    if (depth < 2 || pids.at(-1) !== '1' || (found !== undefined && found.depth <= depth)) continue;
    if (!(await hasRoot(proc, pid, device)) || (await textOf(proc, pid, 'environ')).split('\0').includes(OWN)) continue;
    found = { pid: Number(pid), depth };
  }
  return found?.pid;
}
