import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { ProgramRoot, runChecked } from '../support/program-root.js';
import { useScratch } from '../support/scratch.js';

/* On a Debian root made by mmdebstrap from a mirror, which must be in reach. The tests build on one another. */
const DEFINITION = 'debian-12-x86_64';
const MINUTE = 60_000;
const scratch = useScratch();
const store = scratch.makeStore();
let root: ProgramRoot;

/** Packages by name and version, made on the host. */
const packages = scratch.makeFolder('packages');

/** A package whose second version has a file where the first has a folder, and a configuration file that is another. */
async function makePackage(version: number): Promise<void> {
  const folder = scratch.makeFolder(`sample-${version}`);
  for (const name of ['DEBIAN', 'etc', 'opt/sample/lib', 'srv/sample']) mkdirSync(join(folder, name), { recursive: true });
  chmodSync(folder, 0o755);
  writeFileSync(join(folder, 'DEBIAN/control'), `Package: sample\nVersion: ${version}\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: sample\n`);
  writeFileSync(join(folder, 'DEBIAN/conffiles'), '/etc/sample.conf\n');
  writeFileSync(join(folder, 'etc/sample.conf'), `setting ${version}\n`);
  if (version === 1) {
    mkdirSync(join(folder, 'opt/sample/turned'));
    writeFileSync(join(folder, 'opt/sample/turned/inner'), 'x');
  } else writeFileSync(join(folder, 'opt/sample/turned'), 'now a file');
  for (const top of ['opt/sample/lib', 'srv/sample']) for (let n = 0; n < 200; n += 1) writeFileSync(join(folder, top, `${n}`), `${n} ${n % 2 === 0 ? version : 0}\n`.repeat(n));
  const script = `#!/bin/sh\nset -e\necho "$1" >> /var/log/sample-$(basename "$0" | sed 's/.*[.]//')\n`;
  for (const name of ['preinst', 'postinst', 'prerm', 'postrm']) writeFileSync(join(folder, 'DEBIAN', name), script, { mode: 0o755 });
  await runChecked('dpkg-deb', ['--root-owner-group', '-b', folder, join(packages, `sample_${version}.deb`)]);
}

/** Runs in the sandbox, on the root. */
async function inRoot(script: string): Promise<string> {
  const ended = await store.run(['exec', 'c1', '--env', 'DEBIAN_FRONTEND=noninteractive', '--env', 'LC_ALL=C', '--', 'sh', '-ec', script], { timeoutMs: 8 * MINUTE });
  expect(ended.status, `${script}\n${ended.stderr}\n${ended.stdout.slice(-4000)}`).toBe(0);
  return ended.stdout;
}

/** What dpkg and apt themselves have to say of the root. */
async function expectInOrder(): Promise<void> {
  expect(await inRoot('dpkg --verify; dpkg --audit; apt-get -qq check')).toBe('');
}

describe.each([
  { killed: false, name: 'the worker left alone' },
  { killed: true, name: 'the worker killed all the time' },
])('dpkg and apt, $name', { timeout: 15 * MINUTE }, ({ killed }) => {
  beforeAll(async () => {
    if (!killed) {
      await Promise.all([makePackage(1), makePackage(2)]);
      const ended = await store.run(['template', 'create', DEFINITION], { timeoutMs: 8 * MINUTE });
      expect(ended.status, ended.stderr).toBe(0);
    } else {
      await store.ok('umount', 'c1');
      await store.ok('destroy', 'c1');
    }
    await store.ok('create', 'c1', '--ostemplate', DEFINITION);
    root = new ProgramRoot(store, await store.mount('c1'), '');
    await runChecked('cp', ['-r', packages, join(root.root, 'srv/packages')]);
  }, 10 * MINUTE);

  const variant = { place: 'srv/work', killed, name: '' } as const;

  test('upgrade and downgrade, folders that become files, remove and purge', async () => {
    await root.inVariant(variant, async () => {
      for (const version of [1, 2, 1, 2]) {
        await inRoot(`dpkg --force-confnew -i /srv/packages/sample_${version}.deb`);
        expect(await inRoot('cat /etc/sample.conf; dpkg-query -W -f "\\${Version}" sample')).toBe(`setting ${version}\n${version}`);
        await expectInOrder();
      }
      await inRoot('dpkg --remove sample && test -e /etc/sample.conf && dpkg --purge sample && test ! -e /etc/sample.conf && test ! -e /opt/sample');
      await expectInOrder();
    });
  });

  test('packages of the template, installed over themselves; a diversion and an override', async () => {
    await root.inVariant(variant, async () => {
      await inRoot('apt-get -qq update && apt-get -qq install -y --reinstall coreutils tar dpkg perl-base libc-bin > /dev/null');
      await expectInOrder();
      await inRoot('dpkg-divert --add --rename --divert /usr/bin/cmp.real /usr/bin/cmp && test -x /usr/bin/cmp.real && test ! -e /usr/bin/cmp');
      await inRoot('dpkg-divert --remove --rename /usr/bin/cmp && cmp /etc/passwd /etc/passwd');
      await inRoot('dpkg-statoverride --update --add root adm 0750 /usr/bin/diff && [ "$(stat -c %a%G /usr/bin/diff)" = 750adm ] && dpkg-statoverride --remove /usr/bin/diff');
    });
  });

  test('packages of the mirror, installed, removed and purged', async () => {
    await root.inVariant(variant, async () => {
      await inRoot('apt-get -qq install -y --no-install-recommends git sqlite3 jq rsync > /dev/null');
      expect(await inRoot('echo "[1,2]" | jq add; cd /srv && git init -q x && git -C x fsck && sqlite3 /srv/x.db "PRAGMA journal_mode=wal; CREATE TABLE t(a); PRAGMA integrity_check"')).toBe('3\nwal\nok\n');
      await expectInOrder();
      await inRoot('apt-get -qq purge -y --autoremove git sqlite3 jq rsync > /dev/null && ! command -v git');
      await expectInOrder();
    });
    await root.expectTemplateUntouched();
    await expectInOrder();
  });
});
