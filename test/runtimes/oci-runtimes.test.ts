import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { documentedExamples, makeRuntimeStore, RuntimeScripts, TEMPLATE } from '../support/runtime-scripts.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

/* `templatefs bundle`, with the real runc and crun. */

const scratch = useScratch();
let store: TestStore;
let scripts: RuntimeScripts;

beforeAll(async () => {
  store = await makeRuntimeStore(scratch);
  scripts = new RuntimeScripts(scratch, store);
});

/** Every test of an example makes its containers anew. */
beforeEach(async () => {
  for (const { name } of (await store.json('list')) as { name: string }[]) await store.ok('destroy', name);
});

describe('the examples of the documentation', () => {
  test('plain', async () => {
    const [example = ''] = documentedExamples('runc and crun');
    const lines = await scripts.lines(`${example}\nstate c1`);
    expect(lines.filter((line) => !line.startsWith(' '))).toEqual(['created container c1 from debian-12-x86_64', '/srv/c1', '0', '0', 'C /root', 'A /root/greeting', '"stopped" null ']);
  });

  test('with ids mapped', async () => {
    const [, example = ''] = documentedExamples('runc and crun');
    const lines = await scripts.lines(`${example}\nstate c2\nroot=$(templatefs mount c2 --idmap none)\nstat -c '%u %s' $root/root/greeting\ntemplatefs umount c2`);
    expect(lines.filter((line) => /^ *0 +100000 +65536$/.test(line))).toHaveLength(2);
    // Owned by the container's root, whoever that is on the host.
    expect(lines.slice(-3)).toEqual(['"stopped" null ', '0 6', 'unmounted c2']);
  });
});

describe.each(['runc', 'crun'])('%s', (name) => {
  // No function of the shell: what runs in the background is to be the runtime itself.
  const runtime = `${name} --root /run/${name}-test`;
  const cleanUp = `for id in k1 k2; do ${runtime} delete --force $id || :; done`;
  const running = (id: string): string => `until_true "${runtime} list | grep '${id} .*running'"`;
  const bundle = "templatefs bundle c1 /srv/c1 -- /bin/sh -c 'echo up >> /root/starts; while :; do sleep 0.05; done' >&2";

  beforeEach(async () => {
    await store.ok('create', 'c1', '--ostemplate', TEMPLATE);
  });

  test('create, start, exec, kill, delete: the root is there from the first to the last', async () => {
    const lines = await scripts.lines(
      `${bundle}
      /srv/c1/mount
      ${runtime} create --bundle /srv/c1 k1 </dev/null >/dev/null 2>&1
      state c1
      ${runtime} start k1
      ${runtime} exec k1 /bin/sh -c 'until cat /root/starts; do sleep 0.05; done 2>/dev/null; echo exec > /root/exec; id -u'
      ${runtime} kill k1 KILL
      until_true "${runtime} list | grep 'k1 .*stopped'"
      state c1
      ${runtime} delete k1
      state c1
      ${runtime} list | grep -c k1 || :
      templatefs exec c1 -- cat /root/exec`,
      cleanUp,
    );
    expect(lines).toEqual(['"mounted" null ', 'up', '0', '"mounted" null ', '"stopped" null ', '0', 'exec']);
  });

  test('killed in the middle: delete unmounts, and so the next start finds nothing in its way', async () => {
    const lines = await scripts.lines(
      `${bundle}
      /srv/c1/mount
      ${runtime} run --bundle /srv/c1 k1 </dev/null >/dev/null 2>&1 &
      runtime_pid=$!
      ${running('k1')}
      until_true 'grep up /srv/c1/rootfs/root/starts'
      kill -KILL $runtime_pid
      wait $runtime_pid 2>/dev/null || :
      # What mounts may be run again, and changes nothing.
      /srv/c1/mount
      roots
      ${runtime} delete --force k1
      roots
      state c1
      /srv/c1/mount
      ${runtime} run --bundle /srv/c1 k1 </dev/null >/dev/null 2>&1 &
      ${running('k1')}
      until_true '[ "$(wc -l < /srv/c1/rootfs/root/starts)" = 2 ]'
      ${runtime} delete --force k1 2>/dev/null || :
      wait $! || :
      state c1`,
      cleanUp,
    );
    expect(lines).toEqual(['/srv/c1/rootfs', '"stopped" null ', '"stopped" null ']);
  });

  test('the engine killed in the middle: delete unmounts what is dead; without it, too, the next start mends', async () => {
    const lines = await scripts.lines(
      `${bundle}
      # What runs in the foreground deletes, too: one of the two comes late.
      end() { ${runtime} delete --force k1 2>/dev/null || :; wait $! || :; }
      for how in deleted not-deleted; do
        /srv/c1/mount 2>/dev/null
        ${runtime} run --bundle /srv/c1 k1 </dev/null >/dev/null 2>&1 &
        ${running('k1')}
        until_true 'grep up /srv/c1/rootfs/root/starts'
        kill_engine c1
        cat /srv/c1/rootfs/root/starts 2>/dev/null || echo dead
        if [ $how = deleted ]; then
          end
          state c1
        else
          # Whoever asks for the root gets a live one; the container of before stays with the dead one.
          /srv/c1/mount 2>&1 | grep -c 'cleared away' || :
          end
        fi
      done
      roots
      templatefs exec c1 -- cat /root/starts
      state c1`,
      cleanUp,
    );
    expect(lines).toEqual(['dead', expect.stringMatching(/^"stopped" (null|"its engine .* is gone") $/) as string, 'dead', expect.stringMatching(/^[01]$/) as string, 'up', 'up', '"stopped" null ']);
    await store.expectSound();
  });
});
