import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { appsOf, withApps } from '../../../src/catalog/apps-of-container.js';
import { parseContainerFile, formatContainerFile } from '../../../src/catalog/container-file.js';
import { aptErrors, archiveName, listName, parseSimulation } from '../../../src/packages/apt/apt-output.js';
import { relationNames } from '../../../src/packages/apt/control-paragraphs.js';
import { PackageIndex, PackageIndexWriter, reachable } from '../../../src/packages/apt/package-index.js';
import { parseReleaseFile } from '../../../src/packages/apt/release-file.js';
import { isSecretPath, SECRET_PATHS, secretRule } from '../../../src/packages/secrets.js';
import { changedPaths } from '../../../src/service/area-fingerprint.js';

const REPOSITORY = { uri: 'http://deb.example/debian', suite: 'bookworm', components: ['main'] };
const SUM = 'a'.repeat(64);

function release(fields: Readonly<Record<string, string>> = {}): string {
  const all = { Suite: 'stable', Codename: 'bookworm', Date: 'Sat, 06 Sep 2025 10:15:27 UTC', 'Acquire-By-Hash': 'yes', SHA256: `\n ${SUM}  123 main/binary-amd64/Packages.xz`, ...fields };
  return Object.entries(all).filter(([, value]) => value !== '').map(([name, value]) => `${name}: ${value}`).join('\n');
}

describe('a Release file', () => {
  const now = Date.parse('2025-09-10T00:00:00Z');

  it('says what it vouches for', () => {
    const parsed = parseReleaseFile(release(), REPOSITORY, now);
    expect(parsed.entries.get('main/binary-amd64/Packages.xz')).toEqual({ path: 'main/binary-amd64/Packages.xz', sha256: SUM, sizeBytes: 123 });
    expect(parsed).toMatchObject({ acquireByHash: true, validUntil: undefined, date: Date.parse('2025-09-06T10:15:27Z') });
  });

  it.each([
    ['has expired', release({ 'Valid-Until': 'Tue, 09 Sep 2025 00:00:00 UTC' }), /expired on Tue, 09 Sep/],
    ['has an expiry that is no date', release({ 'Valid-Until': 'soon' }), /no date/],
    ['is of another suite', release({ Suite: 'testing', Codename: 'trixie' }), /are those of testing, trixie/],
    ['has no SHA-256', release({ SHA256: '' }), /no file with a SHA-256/],
    ['has no date', release({ Date: '' }), /have no date/],
  ])('is refused when it %s', (_why, text, message) => {
    expect(() => parseReleaseFile(text, REPOSITORY, now)).toThrow(expect.objectContaining({ code: 'INTEGRITY', message: expect.stringMatching(message) as string }));
  });

  it('counts until the moment that it names', () => {
    expect(parseReleaseFile(release({ 'Valid-Until': 'Thu, 11 Sep 2025 00:00:00 UTC' }), REPOSITORY, now).validUntil).toBe(Date.parse('2025-09-11T00:00:00Z'));
  });
});

describe('what apt-get --simulate prints', () => {
  it('is read as changes', () => {
    const output = [
      'NOTE: This is only a simulation!',
      'Remv nginx-light [1.22.1-9]',
      'Inst libc6 [2.36-9] (2.36-9+deb12u13 Debian:12.12/stable, Debian-Security:12/stable-security [amd64]) [libc6:amd64 on libc-bin:amd64]',
      'Inst php8.2-cli (8.2.29-1~deb12u1 Debian:12.12/stable [amd64])',
      'Inst tool (1.0 local-deb [all])',
      'Inst same [1] (1 Debian:12.12/stable [all])',
      'Conf php8.2-cli (8.2.29-1~deb12u1 Debian:12.12/stable [amd64])',
      'Purg old:i386 [2]',
    ].join('\n');
    expect(parseSimulation(output)).toEqual([
      { name: 'nginx-light', architecture: '', action: 'remove', from: '1.22.1-9', to: null, local: false },
      { name: 'libc6', architecture: 'amd64', action: 'upgrade', from: '2.36-9', to: '2.36-9+deb12u13', local: false },
      { name: 'php8.2-cli', architecture: 'amd64', action: 'install', from: null, to: '8.2.29-1~deb12u1', local: false },
      { name: 'tool', architecture: 'all', action: 'install', from: null, to: '1.0', local: true },
      { name: 'same', architecture: 'all', action: 'reinstall', from: '1', to: '1', local: false },
      { name: 'old', architecture: 'i386', action: 'remove', from: '2', to: null, local: false },
    ]);
  });

  it.each(['Inst ../../etc/passwd (1 x [amd64])', 'Inst a (1;rm -rf / x [amd64])', 'Inst A (1 x [amd64])', 'inst a (1 x [amd64])', 'Inst a (1'])('is left out where it is no change: %s', (line) => {
    expect(parseSimulation(line)).toEqual([]);
  });

  it('tells errors apart from talk', () => {
    const text = ' a : Depends: b but it is not installable\nE: Unable to correct problems, you have held broken packages.\ndpkg: error processing package a\nReading package lists...';
    expect(aptErrors(text)).toEqual(['a : Depends: b but it is not installable', 'Unable to correct problems, you have held broken packages.', 'dpkg: error processing package a']);
  });
});

describe('names of files', () => {
  it('are those that apt gives to archives', () => {
    expect(archiveName('php', '2:8.2+93', 'all')).toBe('php_2%3a8.2+93_all.deb');
    expect(archiveName('g++', '4:12.2.0-3~x', 'amd64')).toBe('g++_4%3a12.2.0-3~x_amd64.deb');
  });

  it('are those that apt gives to lists', () => {
    expect(listName('http://user:pass@deb.example:8080/debian/dists/bookworm-updates')).toBe('deb.example:8080_debian_dists_bookworm-updates');
    expect(listName('http://a.example/x~y_z')).toBe('a.example_x%7ey%5fz');
  });
});

describe('the index of a repository', () => {
  let folder: string;
  beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'templatefs-index-')); });
  afterEach(() => { rmSync(folder, { recursive: true }); });

  const paragraph = (name: string, more: Readonly<Record<string, string>> = {}): string =>
    Object.entries({ Package: name, Version: '1', Architecture: 'all', Filename: `pool/${name}.deb`, Size: '10', SHA256: SUM, ...more }).map(([key, value]) => `${key}: ${value}\n`).join('');

  function write(...paragraphs: string[]): PackageIndex {
    const file = join(folder, 'index.sqlite');
    const writer = new PackageIndexWriter(file);
    const text = paragraphs.join('\n');
    // In pieces, as decompression gives them.
    for (let at = 0; at < text.length; at += 7) writer.add('main', text.slice(at, at + 7));
    writer.endComponent('main');
    writer.finish();
    return new PackageIndex(file);
  }

  it('finds what can be reached over alternatives, providers and recommendations, and nothing else', () => {
    using index = write(
      paragraph('web', { Depends: 'libc6 (>= 2), mta | cron:any', Recommends: 'docs' }),
      paragraph('libc6'),
      paragraph('postfix', { Provides: 'mta (= 1)', Depends: 'ssl' }),
      paragraph('cron'),
      paragraph('ssl'),
      paragraph('docs', { 'Pre-Depends': 'reader' }),
      paragraph('reader', { Suggests: 'unrelated' }),
      paragraph('unrelated', { Depends: 'web' }),
    );
    expect(reachable([index], ['web'])[0]?.map(({ name }) => name)).toEqual(['web', 'libc6', 'postfix', 'cron', 'ssl', 'docs', 'reader']);
    expect(reachable([index], ['nothing'])[0]).toEqual([]);
  });

  it('has no package without a hash, or that lies elsewhere', () => {
    using index = write(paragraph('a', { SHA256: 'short' }), paragraph('b', { Filename: '../b.deb' }), paragraph('c', { Filename: '/etc/c.deb' }), paragraph('d', { Size: '-1' }), paragraph('good'));
    expect(['a', 'b', 'c', 'd', 'good'].filter((name) => index.named(name).length > 0)).toEqual(['good']);
  });

  it('knows tasks', () => {
    using index = write(paragraph('a', { Task: 'web-server, other' }), paragraph('b', { Task: 'web-server-extra' }));
    expect(index.ofTask('web-server')).toEqual(['a']);
  });

  it('reads relations', () => {
    expect(relationNames('a (>= 1), b:any | c [amd64] <!nocheck>,\n d')).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('secrets', () => {
  it('are known by their paths', () => {
    expect(['/etc/ssh/ssh_host_rsa_key', '/etc/machine-id', '/etc/ssl/private/a/b.key'].every((path) => isSecretPath(path, SECRET_PATHS))).toBe(true);
    expect(['/etc/ssh/sshd_config', '/etc/machine-id.d', '/usr/bin/ssh-keygen', '/srv/etc/machine-id'].some((path) => isSecretPath(path, SECRET_PATHS))).toBe(false);
  });

  it('become what definitions say, else what is known; of the rest nobody has said', () => {
    const rules = [
      { pattern: '/var/lib/data/**', action: 'keep' },
      { pattern: '/var/lib/data/key*', action: 'remake', command: 'make-key' },
      { pattern: '/var/log/own', action: 'remove' },
    ] as const;
    const actionOf = (path: string): string | undefined => {
      const rule = secretRule(path, rules, SECRET_PATHS);
      return rule?.command === undefined ? rule?.action : `${rule.action}: ${rule.command}`;
    };
    expect(['/etc/ssh/ssh_host_rsa_key', '/etc/ssh/ssh_host_rsa_key.pub'].map(actionOf)).toEqual(['remake: ssh-keygen -A', 'remake: ssh-keygen -A']);
    expect(['/var/lib/dbus/machine-id', '/etc/machine-id', '/etc/shadow', '/var/log/apt/term.log'].map(actionOf)).toEqual(['remove', 'empty', 'keep', 'empty']);
    expect(['/var/lib/data/a/b', '/var/lib/data/key1', '/var/lib/data/key/1', '/var/log/own'].map(actionOf)).toEqual(['keep', 'remake: make-key', 'keep', 'remove']);
    expect(['/etc/tool.key', '/var/lib/data', '/var/logs'].map(actionOf)).toEqual([undefined, undefined, undefined]);
  });
});

describe('app templates of a container', () => {
  it('stand in its file, beside whatever else does', () => {
    const text = `templatefs-container 1\nname c\ntemplate t\ntree ${SUM}\ncreated x\nfuture line\napp t-php php-cli php-fpm\n`;
    const file = parseContainerFile(text, 'container');
    expect(appsOf(file)).toEqual([{ template: 't-php', packages: ['php-cli', 'php-fpm'] }]);
    expect(formatContainerFile(withApps(file, [{ template: 't-nginx', packages: [] }]))).toBe(text.replace('app t-php php-cli php-fpm', 'app t-nginx'));
    expect(appsOf(withApps(file, []))).toEqual([]);
  });
});

describe('changed paths', () => {
  it('are those that came, went, or are different', () => {
    const before = new Map([['/a', '1'], ['/b', '1'], ['/c', '1']]);
    const after = new Map([['/a', '1'], ['/b', '2'], ['/d', '1']]);
    expect(changedPaths(before, after)).toEqual([['/b', '1', '2'], ['/c', '1', null], ['/d', null, '1']]);
  });
});
