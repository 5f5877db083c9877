import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { buildDeb } from './deb-repository.js';
import { hostilePackage } from './hostile-package.js';
import { makeMiniDebian } from './mini-debian.js';
import { RuntimeScripts } from './runtime-scripts.js';
import { useScratch } from './scratch.js';
import type { TestStore } from './test-store.js';

/*
 * Packages of a container that a runtime has started: their scripts run in its own namespaces, so that a service is restarted where
 * it runs. With runc, and the real apt.
 */

interface Cases {
  /** Options of `create`, by names. */
  readonly containers: Readonly<Record<string, string>>;
  readonly signals: readonly string[];
}

const MINUTES = 60_000;

export function runningContainerCases({ containers, signals }: Cases): void {
  const scratch = useScratch();
  let store: TestStore;
  let scripts: RuntimeScripts;
  let template = '';

  beforeAll(async () => {
    store = scratch.makeStore();
    const mini = await makeMiniDebian(scratch, store);
    template = mini.template;
    const exported = (which: 'old' | 'new'): string => Object.entries(mini.environment(which)).map(([name, value]) => `${name}='${value}'`).join(' ');
    scripts = new RuntimeScripts(scratch, store, `
      export ${exported('old')}
      with_new() { ${exported('new')} templatefs "$@"; }
      runc() { command runc --root /run/runc-test "$@"; }
      inside() { runc exec k1 /bin/sh -c "$1"; }
      start() {
        templatefs bundle c1 /srv/c1 -- /bin/sh -c 'while :; do sleep 0.1; done' >&2
        /srv/c1/mount >&2
        runc run --detach --bundle /srv/c1 k1 </dev/null >/dev/null 2>&1
        until_true 'inside true'
      }
      # Of the service: its version, its namespaces beside those of the first process, what it may do beside that.
      service() {
        inside 'cat /run/toold.version; pid=$(cat /run/toold.pid); for name in mnt pid net ipc uts; do [ "$(readlink /proc/$pid/ns/$name)" = "$(readlink /proc/1/ns/$name)" ] || echo other $name; done
          for name in CapBnd CapEff NoNewPrivs; do [ "$(grep $name /proc/$pid/status)" = "$(grep $name /proc/1/status)" ] || echo other $name; done'
      }
      # Those that were ended may take a moment to be gone.
      count() { inside 'grep -lsxF toold /proc/[0-9]*/comm | wc -l'; }
      count_becomes() { until_true "[ \\$(count) = $1 ]"; count; }`);
  }, 2 * MINUTES);

  beforeEach(async () => {
    for (const { name } of (await store.json('list')) as { name: string }[]) await store.ok('destroy', name);
  });

  const cleanUp = 'runc delete --force k1 || :';

  describe('install, update and remove in a running container', { timeout: 3 * MINUTES }, () => {
    test.each(Object.entries(containers))('%s: a service is started, restarted and stopped in its own namespaces', async (_name, ids) => {
      const lines = await scripts.lines(
        `templatefs create c1 --ostemplate ${template} ${ids} >&2
        start
        templatefs install c1 toold >&2
        service; count
        first=$(inside 'cat /run/toold.pid')
        with_new update c1 --refresh >&2
        service; count_becomes 1
        [ "$first" != "$(inside 'cat /run/toold.pid')" ] && echo another
        inside 'ls -d /run/templatefs* /usr/sbin/policy-rc.d; grep -c templatefs-work /proc/mounts' 2>/dev/null || :
        templatefs remove c1 toold >&2
        count_becomes 0
        inside 'dpkg --audit; ls /usr/sbin/toold' 2>/dev/null || :
        runc delete --force k1
        state c1`,
        cleanUp,
      );
      expect(lines).toEqual(['1.0', '1', '2.0', '1', 'another', '0', '0', '"stopped" null ']);
    });

    test('a stopped container starts no service', async () => {
      const lines = await scripts.lines(
        `templatefs create c1 --ostemplate ${template} >&2
        templatefs install c1 toold >&2
        templatefs exec c1 -- sh -c 'ls /usr/sbin/toold; ls /run/toold.pid /usr/sbin/policy-rc.d 2>/dev/null || :'`,
      );
      expect(lines).toEqual(['/usr/sbin/toold']);
    });

    /* What it tries: hostile-package.ts. Afterwards the host looks at the container in all the ways that read what is in it. */
    test.each(Object.entries({ stopped: '', ...containers }))('%s: a hostile package script reaches nothing of the host', { timeout: 5 * MINUTES }, async (name, ids) => {
      const folder = scratch.makeFolder('host');
      const secret = `canary-${randomBytes(8).toString('hex')}`;
      const canary = join(folder, 'canary');
      writeFileSync(canary, secret);
      const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
      await once(server, 'listening');
      try {
        const { dev } = statSync(scratch.folder);
        const disk = { major: (dev >> 8) & 0xfff, minor: (dev & 0xff) | ((dev >> 12) & 0xfff00) };
        const { port } = server.address() as AddressInfo;
        const hostile = await buildDeb(folder, hostilePackage({ canary, store: store.path, port, disk }));
        const flood = await buildDeb(folder, { name: 'flood', version: '1.0', scripts: { afterInstall: "echo was-here > /srv/flood; head -c 80000000 /dev/zero | tr '\\0' x" } });
        const floods = `
          templatefs localinstall c1 ${flood} 2>/srv/log || echo $?
          grep -c 'wrote more than 64 MiB' /srv/log
          inside 'ls /srv/flood 2>/dev/null; dpkg --audit; dpkg-query -W flood 2>/dev/null' || :`;
        const lines = await scripts.lines(
          `export HOST_SECRET=secret
          templatefs create c1 --ostemplate ${template} ${ids} >&2
          ${name === 'stopped' ? "inside() { templatefs exec c1 --no-network -- sh -c \"$1\"; }" : 'start'}
          templatefs localinstall c1 ${hostile} >/srv/log 2>&1 || { cat /srv/log >&2; exit 1; }
          grep -c "$(printf '\\033')" /srv/log || :
          inside 'cat /srv/breach 2>/dev/null; cat /srv/done; dpkg --audit; ls -d /run/templatefs* 2>/dev/null || :'
          ${name === 'stopped' ? "first=$(inside 'cat /srv/alive'); sleep 0.5; [ \"$first\" = \"$(inside 'cat /srv/alive')\" ] && echo ended" : 'echo ended'}
          for command in 'diff c1' 'query package tool' 'link c1' 'install c1 tool' 'rollback c1 --force'; do templatefs $command >/srv/log 2>&1 || { echo $command; cat /srv/log >&2; }; done
          ! grep -q ${secret} /srv/log || echo told
          inside 'stat -c %F /srv/whiteout /usr/share/dpkg/abitable'
          ${name === 'stopped' ? floods : ''}
          ${name === 'stopped' ? '' : 'runc delete --force k1'}
          grep -rqs ${secret} "$TEMPLATEFS_STORE/objects" "$TEMPLATEFS_STORE/trees" || echo not-taken`,
          name === 'stopped' ? '' : cleanUp,
          4 * MINUTES,
        );
        expect(lines).toEqual(['0', 'ran', 'ended', 'character special file', 'character special file', ...(name === 'stopped' ? ['14', '1'] : []), 'not-taken']);
        expect(readFileSync(canary, 'utf8')).toBe(secret);
      } finally {
        server.close();
      }
    });

    test('killed or interrupted while a script runs: nothing of it goes on, and the container is as before', async () => {
      const lines = await scripts.lines(
        `templatefs create c1 --ostemplate ${template} >&2
        start
        inside ': > /etc/toold.wait'
        for signal in ${signals.join(' ')}; do
          templatefs install c1 toold >/srv/log 2>&1 &
          pid=$!
          until_true "inside 'ls /etc/toold.waits'"
          kill -$signal $pid
          wait $pid || echo $?
          until_true "! inside 'grep -lsxF -e apt-get -e dpkg -e sleep\\\\ 60 /proc/[0-9]*/comm'"
          templatefs status c1 >/dev/null || :
          templatefs rollback c1 99 2>/dev/null || :
          inside 'ls /usr/sbin/toold /etc/toold.waits; dpkg-query -W toold; dpkg --audit; ls -d /run/templatefs*' 2>/dev/null || :
          count_becomes 0
        done
        inside 'rm /etc/toold.wait'
        templatefs install c1 toold >&2
        service; count
        runc delete --force k1`,
        cleanUp,
      );
      expect(lines).toEqual([...signals.flatMap((signal) => [signal === 'KILL' ? '137' : '130', '0']), '1.0', '1']);
    });
  });
}
