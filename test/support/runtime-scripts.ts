import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { CLI, ENGINE, PROJECT } from './project.js';
import { buildRoot } from './roots.js';
import { runProgram, type Ended } from './run-program.js';
import type { Scratch } from './scratch.js';
import type { TestStore } from './test-store.js';

/** What the documentation calls its OS template. */
export const TEMPLATE = 'debian-12-x86_64';

const INIT = `#!/bin/sh
trap 'exit 0' PWR TERM
echo up >> /root/starts
while :; do sleep 0.05; done
`;

/** A store with the template that docs/runtimes.md uses: a root with a shell, and with what runtimes expect of a Debian. */
export async function makeRuntimeStore(scratch: Scratch): Promise<TestStore> {
  const root = await buildRoot(scratch.path('template'));
  for (const name of ['sbin', 'lib', 'lib64', 'var']) mkdirSync(join(root, name));
  symlinkSync('../proc/self/mounts', join(root, 'etc/mtab'));
  for (const name of ['etc/resolv.conf', 'etc/hostname', 'etc/localtime', 'etc/machine-id']) writeFileSync(join(root, name), '');
  writeFileSync(join(root, 'etc/os-release'), 'ID=debian\nVERSION_ID="12"\n');
  writeFileSync(join(root, 'sbin/init'), INIT, { mode: 0o755 });
  const store = scratch.makeStore();
  await store.ok('template', 'import', TEMPLATE, root);
  return store;
}

/**
 * Runs shell scripts that start containers, each in a mount namespace of its own: with the project's programs in PATH and where mount(8)
 * looks, and with empty folders in the place of those where runtimes keep what they know. Nothing of the host is changed.
 */
export class RuntimeScripts {
  readonly #scratch: Scratch;
  readonly #store: TestStore;
  readonly #setUp: string;

  /** @param setUp shell commands before each script */
  constructor(scratch: Scratch, store: TestStore, setUp = '') {
    this.#scratch = scratch;
    this.#store = store;
    const programs = scratch.makeFolder('programs');
    const helpers = scratch.makeFolder('helpers');
    for (const [path, name] of [[CLI, 'templatefs'], [join(PROJECT, 'integrations/lxc/templatefs-lxc-hook'), 'templatefs-lxc-hook']] as const) symlinkSync(path, join(programs, name));
    for (const name of ['mount.templatefs', 'mount.fuse.templatefs']) symlinkSync(ENGINE, join(helpers, name));
    this.#setUp = `
      # In a mixed hierarchy runtimes meet controllers without the files that they expect.
      for controller in memory unified; do umount /sys/fs/cgroup/$controller 2>/dev/null || :; done
      for folder in /run /srv; do mount -t tmpfs -o mode=755 tmpfs $folder; done
      sbin=$(readlink -f /sbin)
      mount -t overlay -o 'lowerdir=${helpers}:'$sbin overlay $sbin
      export PATH='${programs}':$PATH:/usr/sbin:/sbin TEMPLATEFS_STORE='${store.path}'
      # Roots that are mounted below the folders of this test, or where examples mount.
      roots() { awk '$3 == "fuse.templatefs" && index(" ${store.path}", $1) == 0 { print $2 }' /proc/self/mounts | grep -E '^(${scratch.folder}|/srv|/var/lib/(lxc|machines))/' || :; }
      info() { templatefs --json info $1 | sed -n 's/^ *"\\(state\\|stale\\)": \\(.*\\),$/\\2/p' | tr '\\n' ' '; echo; }
      # An engine ends by itself when its root was unmounted, a moment later: until then it looks like a dead one.
      state() { n=0; while info $1 | grep -q 'nothing is mounted' && [ $n -lt 200 ]; do n=$((n + 1)); sleep 0.05; done; info $1; }
      until_true() { n=0; while ! eval "$1" >/dev/null 2>&1; do n=$((n + 1)); [ $n -lt 600 ] || { echo "never true: $1"; exit 9; }; sleep 0.05; done; }
      engine_pids() { sed -n 's/^holder //p; s/^worker //p' "$TEMPLATEFS_STORE/run/$1/engine"; }
      kill_engine() { pids=$(engine_pids $1); kill -STOP $pids; kill -KILL $pids; for pid in $pids; do until_true "! [ -e /proc/$pid ] || grep -q 'State:.Z' /proc/$pid/status"; done; }
      ${setUp}`;
  }

  /** @param cleanUp shell commands after the script, however it ends */
  run(script: string, cleanUp = '', timeoutMs = 120_000): Promise<Ended> {
    const file = this.#scratch.path('script.sh');
    writeFileSync(file, `${this.#setUp}\ntrap '{ ${cleanUp}\nfor root in $(roots); do umount $root || umount -l $root; done; } >&2' EXIT\n${script}\n`);
    return runProgram('unshare', ['-m', '--propagation', 'slave', 'sh', '-eu', file], { timeoutMs });
  }

  /** Runs a script that must succeed, and leave neither mounts nor engines. @returns the lines that it wrote */
  async lines(script: string, cleanUp = '', timeoutMs = 120_000): Promise<string[]> {
    const ended = await this.run(`${script}\nroots`, cleanUp, timeoutMs);
    expect(ended.status, `${ended.stdout}\n${ended.stderr}`).toBe(0);
    expect(this.#scratch.processes().filter(({ command }) => command.includes(this.#store.path))).toEqual([]);
    return ended.stdout.split('\n').slice(0, -1);
  }
}

/** The shell examples of a section of docs/runtimes.md, in their order. */
export function documentedExamples(section: string): string[] {
  const text = readFileSync(join(PROJECT, 'docs/runtimes.md'), 'utf8');
  const found = new RegExp(`^## ${section}\\n(.*?)(?=^## |(?![^]))`, 'ms').exec(text)?.[1];
  if (found === undefined) throw new Error(`docs/runtimes.md has no section ${section}`);
  return [...found.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, example]) => example ?? '');
}
