import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The checkout, and the programs that tests drive from outside. */
export const PROJECT = fileURLToPath(new URL('../../', import.meta.url));
export const CLI = `${PROJECT}bin/templatefs`;
export const ENGINE = `${PROJECT}build/Release/templatefs-engine`;
/** Debian's own: one that a version manager puts first in PATH starts through a slow shell script. */
export const PYTHON = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';

/** The path of a program or a script of this folder. */
export function supportFile(name: string): string {
  return `${PROJECT}test/support/${name}`;
}

/**
 * What every test of mounts needs. They do not skip: a run without them would say nothing, and look good.
 *
 * @throws Error that says what is missing
 */
export function requireMountTests(): void {
  if (process.geteuid?.() !== 0) throw new Error('these tests mount file systems: run them as root');
  if (!existsSync('/dev/fuse')) throw new Error('these tests need /dev/fuse: load it with `modprobe fuse`, or give it to this container');
  if (!existsSync(ENGINE) || !existsSync(`${PROJECT}dist/cli/main.js`)) throw new Error('nothing is built: run `npm run build` first');
}
