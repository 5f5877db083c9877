import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { ProgramRoot, runChecked, VARIANTS } from '../support/program-root.js';
import { runProgram } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

const MINUTE = 60_000;
const scratch = useScratch();
const packages = new Map<string, string>();

/** A package with a few hundred files, hard and soft links, a configuration file, an owner and a capability. */
function spec(version: number): string {
  return `
Name: sample
Version: ${version}
Release: 1
Summary: sample
License: none
BuildArch: noarch
%global _binary_payload w1.zstdio
%description
sample
%install
mkdir -p %{buildroot}/usr/share/sample/deep/deeper %{buildroot}/etc %{buildroot}/var/lib/sample
for n in $(seq 1 300); do echo "file $n of version $((n % 3 == 0 ? 1 : ${version}))" > %{buildroot}/usr/share/sample/deep/file-$n; done
head -c 3000000 /dev/zero | tr '\\0' '${version}' > %{buildroot}/usr/share/sample/large
ln %{buildroot}/usr/share/sample/deep/file-1 %{buildroot}/usr/share/sample/hard
ln -s deep/file-2 %{buildroot}/usr/share/sample/soft
echo "only in ${version}" > %{buildroot}/usr/share/sample/deep/deeper/only-${version}
echo "setting ${version}" > %{buildroot}/etc/sample.conf
%files
/usr/share/sample
%config(noreplace) /etc/sample.conf
%attr(2750, 12, 34) %dir /var/lib/sample
`;
}

async function rpm(root: string, ...args: string[]): Promise<string> {
  return runChecked('rpm', ['--root', root, '--dbpath', '/var/lib/rpm', '--define', '_db_backend sqlite', ...args], { timeoutMs: 2 * MINUTE });
}

function packageFile(version: number): string {
  return packages.get(String(version)) ?? '';
}

beforeAll(async () => {
  const top = scratch.makeFolder('rpmbuild');
  for (const version of [1, 2]) {
    const file = join(top, `sample-${version}.spec`);
    writeFileSync(file, spec(version));
    await runChecked('rpmbuild', ['-bb', '--define', `_topdir ${top}`, '--define', '_tmppath /tmp', '--target', 'noarch', file]);
    packages.set(String(version), join(top, `RPMS/noarch/sample-${version}-1.noarch.rpm`));
  }
}, 2 * MINUTE);

test.each(VARIANTS)('rpm: upgrade, downgrade, verify, rebuilddb, erase, $name', { timeout: 5 * MINUTE }, async (variant) => {
  const root = await ProgramRoot.mount(scratch, async (folder) => {
    mkdirSync(join(folder, 'var/lib/rpm'), { recursive: true });
    await rpm(folder, '--initdb');
    await rpm(folder, '-i', '--nodeps', packageFile(1));
  });
  const place = root.path(variant.place);
  await root.inVariant(variant, async () => {
    expect(await rpm(place, '-qa')).toBe('sample-1-1.noarch\n');
    expect(await rpm(place, '-Va')).toBe('');
    for (const version of [2, 1, 2]) {
      await rpm(place, '-U', '--nodeps', '--oldpackage', packageFile(version));
      expect(await rpm(place, '-q', 'sample')).toBe(`sample-${version}-1.noarch\n`);
      expect(await rpm(place, '-Va')).toBe('');
      await rpm(place, '--rebuilddb');
      await rpm(place, '-i', '--replacepkgs', '--nodeps', packageFile(version));
      expect(await rpm(place, '-Va')).toBe('');
    }
    await runChecked('test', ['!', '-e', join(place, 'usr/share/sample/deep/deeper/only-1')]);
    await runChecked('test', [join(place, 'usr/share/sample/hard'), '-ef', join(place, 'usr/share/sample/deep/file-1')]);
  });
  await root.expectTemplateUntouched();
  expect(await rpm(place, '-Va')).toBe('');
  writeFileSync(join(place, 'usr/share/sample/deep/file-7'), 'not what the package holds');
  const found = await runProgram('rpm', ['--root', place, '--dbpath', '/var/lib/rpm', '-Va']);
  expect(found.stdout).toMatch(/^S\.5\.*T?\.*\s+\/usr\/share\/sample\/deep\/file-7$/m);
  await runChecked('sqlite3', [join(place, 'var/lib/rpm/rpmdb.sqlite'), 'PRAGMA integrity_check']).then((said) => { expect(said).toBe('ok\n'); });
  await rpm(place, '-e', 'sample');
  expect(await rpm(place, '-qa')).toBe('');
  await runChecked('test', ['!', '-e', join(place, 'usr/share/sample')]);
});
