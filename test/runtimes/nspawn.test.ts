import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { PROJECT } from '../support/project.js';
import { documentedExamples, makeRuntimeStore, RuntimeScripts, TEMPLATE } from '../support/runtime-scripts.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

/* systemd-nspawn on mounted roots. */

const scratch = useScratch();
let store: TestStore;
let scripts: RuntimeScripts;

beforeAll(async () => {
  store = await makeRuntimeStore(scratch);
  // Where systemd is not the first process there is nobody to register with.
  scripts = new RuntimeScripts(scratch, store, `
    mkdir -p /var/lib/machines
    mount -t tmpfs -o mode=700 tmpfs /var/lib/machines
    systemd_nspawn="$(command -v systemd-nspawn) --register=no --keep-unit --quiet"`);
});

beforeEach(async () => {
  for (const { name } of (await store.json('list')) as { name: string }[]) await store.ok('destroy', name);
});

const here = (example: string): string => example.replaceAll(/^systemd-nspawn /gm, '$systemd_nspawn ');

test('the examples of the documentation', async () => {
  const [plain = '', mapped = ''] = documentedExamples('systemd-nspawn');
  // What comes from the container has gone through a terminal.
  const first = await scripts.lines(`${here(plain)}\nstate c1\ntemplatefs diff c1 | grep greeting`);
  expect(first.map((line) => line.trimEnd())).toEqual(['created container c1 from debian-12-x86_64', '0', '"stopped" null', 'A /root/greeting']);
  const lines = await scripts.lines(`${here(mapped)}\nstate c2`);
  expect(lines.map((line) => line.trim().replaceAll(/ +/g, ' '))).toEqual(['created container c2 from debian-12-x86_64', '0 100000 65536', '"stopped" null']);
});

test('the .nspawn file of the documentation; nspawn killed, its engine killed: the root can be unmounted and started on again', async () => {
  const settings = /```ini\n(\[Exec\]\n[^]*?)```/.exec(readFileSync(join(PROJECT, 'docs/runtimes.md'), 'utf8'))?.[1] ?? '';
  expect(settings).toContain('Boot=yes');
  await store.ok('create', 'c1', '--ostemplate', TEMPLATE);
  const lines = await scripts.lines(
    `mkdir -p /run/systemd/nspawn /var/lib/machines/c1
    cat >/run/systemd/nspawn/c1.nspawn <<'END'\n${settings}END
    root=/var/lib/machines/c1
    start() { $systemd_nspawn --settings=trusted -M c1 </dev/null >/dev/null 2>&1 & until_true "[ \\$(wc -l < $root/root/starts) = $1 ]"; }
    # As machinectl does it: a container outlives an nspawn that is killed.
    kill_nspawn() { first=$(tr ' ' '\n' </proc/$!/task/$!/children | head -1); kill -KILL $!; wait $! 2>/dev/null || :; kill -KILL $first; until_true "! [ -e /proc/$first ] || grep -q State:.Z /proc/$first/status"; }
    mount -t fuse.templatefs c1 $root
    start 1
    kill_nspawn
    start 2
    kill_engine c1
    kill_nspawn
    umount $root
    mount -t fuse.templatefs c1 $root 2>/dev/null
    start 3
    kill_nspawn
    umount $root
    state c1
    templatefs exec c1 -- cat /root/starts`,
  );
  expect(lines).toEqual(['"stopped" null ', 'up', 'up', 'up']);
});
