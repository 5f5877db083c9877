import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ENGINE } from './project.js';
import { runProgram, type Ended, type RunOptions } from './run-program.js';
import type { Scratch } from './scratch.js';

/** The mount helper: by its own name, or as mount(8) finds it. */
export class MountHelper {
  readonly #links: string;
  readonly #scratch: Scratch;

  constructor(scratch: Scratch) {
    this.#scratch = scratch;
    this.#links = scratch.makeFolder('links');
    for (const name of ['mount.templatefs', 'mount.fuse.templatefs']) symlinkSync(ENGINE, join(this.#links, name));
  }

  get path(): string {
    return join(this.#links, 'mount.fuse.templatefs');
  }

  /** As mount(8) calls it, whatever it ends with. */
  run(store: string, container: string, target: string, options = 'rw', more: RunOptions = {}): Promise<Ended> {
    return runProgram(this.path, [container, target, '-o', `rw,store=${store},${options}`], more);
  }

  /**
   * Runs a shell script where mount(8) finds the helper: in a mount namespace of its own, with the links in the place of /sbin. Nothing
   * of the host is changed, and the script must unmount what it mounts: the engine keeps the namespace.
   * What others unmount meanwhile goes here, too: else their engines would not end.
   */
  script(text: string, variables: Readonly<Record<string, string>> = {}): Promise<Ended> {
    const file = this.#scratch.path('script.sh');
    writeFileSync(file, `mount --bind '${this.#links}' "$(readlink -f /sbin)"\n${text}\n`);
    return runProgram('unshare', ['-m', '--propagation', 'slave', 'sh', '-eu', file], { env: variables });
  }
}

/** The mount point, type and options of what is mounted on top at a path, as /proc/mounts says. */
export function mountLine(mountpoint: string): { source: string; type: string; options: string[] } | undefined {
  const lines = readFileSync('/proc/mounts', 'utf8').split('\n').map((line) => line.split(' '));
  const found = lines.findLast(([, place]) => place === mountpoint);
  return found && { source: found[0] ?? '', type: found[2] ?? '', options: (found[3] ?? '').split(',') };
}

/** A new folder below the scratch folder. */
export function makePlace(scratch: Scratch, name: string): string {
  const path = scratch.path(name);
  mkdirSync(path);
  return path;
}
