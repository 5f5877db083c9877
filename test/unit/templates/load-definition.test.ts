import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TemplatefsError } from '../../../src/core/errors.js';
import { findDefinitions, searchPathOf } from '../../../src/templates/find-definitions.js';
import { loadDefinition } from '../../../src/templates/load-definition.js';
import { loadRecordedDefinition } from '../../../src/templates/load-recorded-definition.js';

const NAME = 'debian-12-x86_64';
const BASE: Readonly<Record<string, string>> = {
  'os/default/package_manager': 'apt\n',
  'os/default/distribution': 'debian\n',
  'os/default/repositories': '# the archive\n$DEB_MIRROR bookworm main contrib\nhttp://other.example/debian/ bookworm-updates main\n',
  'os/default/packages': 'ca-certificates\nprocps  netbase\n',
};

let folder: string;

async function write(files: Readonly<Record<string, string>>, mode = 0o644): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, NAME, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
    await chmod(path, mode);
  }
}

const load = (name = NAME, flavors?: string[]): ReturnType<typeof loadDefinition> =>
  loadDefinition(name, { searchPath: [folder], ...(flavors !== undefined && { flavors }) });

async function errorOf(work: Promise<unknown>): Promise<TemplatefsError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof TemplatefsError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'templatefs-definitions-'));
  await writeFile(join(folder, 'url.map'), '# mirrors\n$DEB_MIRROR  http://deb.example/debian/\n');
  vi.stubEnv('DEB_MIRROR', '');
  vi.stubEnv('TEMPLATEFS_URL_MAP', join(folder, 'no-site-file'));
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

describe('an OS template', () => {
  it('is found again by what is recorded with a template, flavors and all', async () => {
    await write({ ...BASE, 'os/web/packages': 'nginx\n', 'os/small/packages': 'netbase\n' });
    const again = (name: string, flavors: string[]): ReturnType<typeof loadDefinition> => loadRecordedDefinition({ name, flavors }, { searchPath: [folder] });
    for (const [name, flavors] of [[NAME, []], [`${NAME}-web`, []], [`${NAME}-web`, ['web']], [`${NAME}-web-small`, ['web', 'small']]] as [string, string[]][]) {
      expect((await again(name, flavors)).name).toBe(name);
    }
  });

  it('is read from its files', async () => {
    await write(BASE);
    await write({
      'os/default/packages_1': 'apt\n',
      'os/default/keys': '/usr/share/keyrings/debian-archive-keyring.gpg\n',
      'os/default/environment': 'LC_ALL=C.UTF-8\nGREETING=a = b\n',
      'os/default/summary': 'A summary\n',
      'os/default/description': 'Two\nlines\n',
      'os/default/osrelease': '6.1.0\n',
      'os/default/upgradable_versions': '10\n11\n',
      'os/default/shared_paths': '# comment\n/usr\n/srv/app/\n',
      'os/default/secrets': '/var/lib/data/** keep\n/etc/tool.key remake umask 077; make-key  > /etc/tool.key\n/etc/key* remove\n',
    });
    await write({ 'os/default/post-cache': '#!/bin/sh\ntrue\n' }, 0o755);
    expect(await load()).toEqual({
      name: NAME,
      kind: 'os',
      base: undefined,
      folder: join(folder, NAME, 'os/default'),
      distribution: 'debian',
      release: '12',
      architecture: 'x86_64',
      packageManager: 'apt',
      repositories: [
        { uri: 'http://deb.example/debian', suite: 'bookworm', components: ['main', 'contrib'] },
        { uri: 'http://other.example/debian/', suite: 'bookworm-updates', components: ['main'] },
      ],
      mirrorLists: [],
      keys: ['/usr/share/keyrings/debian-archive-keyring.gpg'],
      packages: { minimal: [], base: ['apt'], main: ['ca-certificates', 'procps', 'netbase'] },
      environment: { LC_ALL: 'C.UTF-8', GREETING: 'a = b' },
      scripts: { 'post-cache': join(folder, NAME, 'os/default/post-cache') },
      secrets: [
        { pattern: '/var/lib/data/**', action: 'keep' },
        { pattern: '/etc/tool.key', action: 'remake', command: 'umask 077; make-key  > /etc/tool.key' },
        { pattern: '/etc/key*', action: 'remove' },
      ],
      summary: 'A summary',
      description: 'Two\nlines',
      osRelease: '6.1.0',
      upgradableVersions: ['10', '11'],
      sharedPaths: ['/usr', '/srv/app'],
    });
  });

  it('takes mirrors from the environment first, then from the site, then from the folder', async () => {
    await write(BASE);
    await writeFile(join(folder, 'site.map'), '$DEB_MIRROR http://site.example/debian\n');
    vi.stubEnv('TEMPLATEFS_URL_MAP', join(folder, 'site.map'));
    expect((await load()).repositories[0]?.uri).toBe('http://site.example/debian');
    vi.stubEnv('DEB_MIRROR', 'http://env.example/debian/');
    expect((await load()).repositories[0]?.uri).toBe('http://env.example/debian');
  });

  it('that does not exist is answered with those that do', async () => {
    await write(BASE);
    const error = await errorOf(load('debian-13-x86_64'));
    expect(error.code).toBe('TEMPLATE_NOT_FOUND');
    expect(error.message).toContain('debian-13-x86_64');
    expect(error.hint).toContain(NAME);
  });
});

describe('a definition that is wrong names file and line', () => {
  const cases: readonly (readonly [string, Record<string, string>, string, RegExp])[] = [
    ['an unknown file', { 'os/default/pakages': 'x\n' }, 'os/default/pakages', /unknown file/],
    ['a backup file', { 'os/default/packages~': 'x\n' }, 'os/default/packages~', /unknown file/],
    ['an unknown folder', { 'apps/php/default/packages': 'php\n' }, 'apps', /unknown entry/],
    ['a file among the sets', { 'os/README': 'x\n' }, 'os/README', /unknown entry/],
    ['a bad package name', { 'os/default/packages': 'good\n\n# comment\nBad_Name\n' }, 'os/default/packages:4', /Bad_Name/],
    ['an option in place of a package', { 'os/default/packages': '--allow-unauthenticated\n' }, 'os/default/packages:1', /package name/],
    ['a package twice', { 'os/default/packages': 'one two\none\n' }, 'os/default/packages:2', /twice/],
    ['an unknown package manager', { 'os/default/package_manager': 'pacman\n' }, 'os/default/package_manager:1', /pacman/],
    ['two values where one belongs', { 'os/default/distribution': 'debian\nubuntu\n' }, 'os/default/distribution:2', /one line/],
    ['an empty value', { 'os/default/distribution': '# nothing\n' }, 'os/default/distribution', /empty/],
    ['no repository', { 'os/default/repositories': '# none\n' }, 'os/default/repositories', /no repository/],
    ['a repository without component', { 'os/default/repositories': 'http://x.example/ bookworm\n' }, 'os/default/repositories:1', /COMPONENT/],
    ['a repository with options', { 'os/default/repositories': '[trusted=yes] http://x.example/ bookworm main\n' }, 'os/default/repositories:1', /not a URL/],
    ['options hidden in a suite', { 'os/default/repositories': 'http://x.example/ [trusted=yes] main\n' }, 'os/default/repositories:1', /trusted/],
    ['a URL of another kind', { 'os/default/repositories': 'copy:/x bookworm main\n' }, 'os/default/repositories:1', /not a URL/],
    ['an unknown variable', { 'os/default/repositories': '\n$NO_SUCH bookworm main\n' }, 'os/default/repositories:2', /\$NO_SUCH/],
    ['a mirror list for apt', { 'os/default/mirrorlist': 'http://x.example/list\n' }, 'os/default/mirrorlist:1', /no mirror lists/],
    ['a relative keyring', { 'os/default/keys': 'debian.gpg\n' }, 'os/default/keys:1', /keyring/],
    ['a line that is no variable', { 'os/default/environment': 'A=1\nexport B=2\n' }, 'os/default/environment:2', /NAME=VALUE/],
    ['a variable twice', { 'os/default/environment': 'A=1\nA=2\n' }, 'os/default/environment:2', /twice/],
    ['a shared path that is none', { 'os/default/shared_paths': '/usr\nopt\n' }, 'os/default/shared_paths:2', /opt/],
    ['no shared path', { 'os/default/shared_paths': '#\n' }, 'os/default/shared_paths', /names no path/],
    ['a secret that leads elsewhere', { 'os/default/secrets': '/etc/../key keep\n' }, 'os/default/secrets:1', /PATH keep/],
    ['a secret without what becomes of it', { 'os/default/secrets': '/etc/a keep\n/etc/key\n' }, 'os/default/secrets:2', /PATH keep/],
    ['a secret that is made again by nothing', { 'os/default/secrets': '/etc/key remake\n' }, 'os/default/secrets:1', /PATH keep/],
    ['a release that is none', { 'os/default/upgradable_versions': '11\nbuster\n' }, 'os/default/upgradable_versions:2', /buster/],
    ['Windows line ends', { 'os/default/packages': 'one\r\ntwo\r\n' }, 'os/default/packages:1', /carriage return/],
    ['a NUL byte', { 'os/default/packages': 'one\ntw\0o\n' }, 'os/default/packages:2', /control character/],
    ['a script without interpreter', { 'os/default/post-cache': 'echo\n' }, 'os/default/post-cache:1', /#!/],
    ['a script that is not executable', { 'os/default/post-cache': '#!/bin/sh\n' }, 'os/default/post-cache', /not executable/],
    ['a package manager in an extra OS template', { 'os/web/packages': 'nginx\n', 'os/web/package_manager': 'apt\n' }, 'os/web/package_manager', /does not belong/],
    ['a cache script in an app template', { 'app/php/default/packages': 'php\n', 'app/php/default/post-cache': '#!/bin/sh\n' }, 'app/php/default/post-cache', /does not belong/],
  ];
  for (const [what, files, where, message] of cases) {
    it(what, async () => {
      await write(BASE);
      await write(files);
      const name = where.startsWith('os/web') ? `${NAME}-web` : where.startsWith('app/php') ? `${NAME}-php` : NAME;
      const error = await errorOf(load(name));
      expect(error.code).toBe('BAD_DEFINITION');
      expect(error.message.startsWith(`${join(folder, NAME, where)}: `)).toBe(true);
      expect(error.message).toMatch(message);
    });
  }

  it('a missing file', async () => {
    for (const missing of ['package_manager', 'distribution', 'packages']) {
      const rest = Object.fromEntries(Object.entries(BASE).filter(([name]) => name !== `os/default/${missing}`));
      await rm(join(folder, NAME), { recursive: true, force: true });
      await write(rest);
      const error = await errorOf(load());
      expect(error.message).toBe(`${join(folder, NAME, 'os/default', missing)}: missing`);
    }
  });

  it('text that is not UTF-8', async () => {
    await write(BASE);
    await writeFile(join(folder, NAME, 'os/default/summary'), Buffer.from([0x41, 0xff, 0x0a]));
    expect((await errorOf(load())).message).toContain('summary: not UTF-8');
  });

  it('a line of url.map', async () => {
    await write(BASE);
    await writeFile(join(folder, 'url.map'), '$DEB_MIRROR http://a.example\nDEB_OTHER http://b.example\n');
    expect((await errorOf(load())).message).toContain('url.map:2');
  });
});

describe('inheritance', () => {
  beforeEach(async () => {
    await write(BASE);
    await write({ 'os/default/packages_1': 'apt\n', 'os/default/environment': 'A=base\n', 'os/default/summary': 'base\n' });
    await write({ 'os/default/post-cache': '#!/bin/sh\n', 'os/default/pre-install': '#!/bin/sh\n' }, 0o755);
  });

  it('an extra OS template adds repositories and falls back to the base for what it leaves out', async () => {
    await write({ 'os/web/packages': 'nginx\n', 'os/web/repositories': 'http://web.example/ bookworm main\n' });
    await write({ 'os/web/pre-install': '#!/bin/sh\n' }, 0o755);
    const web = await load(`${NAME}-web`);
    expect(web).toMatchObject({ name: `${NAME}-web`, kind: 'extra-os', base: NAME, environment: { A: 'base' }, summary: 'base', distribution: 'debian' });
    expect(web.packages).toEqual({ minimal: [], base: ['apt'], main: ['nginx'] });
    expect(web.repositories.map((repository) => repository.uri)).toEqual(['http://deb.example/debian', 'http://other.example/debian/', 'http://web.example/']);
    expect(web.scripts).toEqual({
      'post-cache': join(folder, NAME, 'os/default/post-cache'),
      'pre-install': join(folder, NAME, 'os/web/pre-install'),
    });
  });

  it('an empty package stage is that of the base', async () => {
    await write({ 'os/web/packages': '# as the base\n' });
    expect((await load(`${NAME}-web`)).packages.main).toEqual(['ca-certificates', 'procps', 'netbase']);
  });

  it('several flavors are joined', async () => {
    await write({ 'os/web/packages': 'nginx\n', 'os/web/environment': 'B=web\n', 'os/db/packages': 'nginx mariadb-server\n', 'os/db/environment': 'C=db\n' });
    const both = await load(NAME, ['web', 'db']);
    expect(both).toMatchObject({ name: `${NAME}-web-db`, kind: 'extra-os', base: NAME, environment: { B: 'web', C: 'db' } });
    expect(both.packages.main).toEqual(['nginx', 'mariadb-server']);
    expect(await load(NAME, ['web'])).toEqual(await load(`${NAME}-web`));
    expect((await errorOf(load(NAME, ['nope']))).code).toBe('TEMPLATE_NOT_FOUND');
    expect((await errorOf(load(`${NAME}-web`, ['db']))).code).toBe('USAGE');
  });

  it('an app template has only its own packages and scripts, and the repositories of both', async () => {
    await write({ 'app/php/default/packages': 'php\n', 'app/php/default/repositories': 'http://php.example/ bookworm main\n', 'app/php/devel/packages': 'php-dev\n' });
    const php = await load(`${NAME}-php`);
    expect(php).toMatchObject({ kind: 'app', base: NAME, packages: { minimal: [], base: [], main: ['php'] }, scripts: {}, packageManager: 'apt' });
    expect(php.repositories).toHaveLength(3);
    expect(await load(`php-${NAME}`)).toEqual(php);
    expect(await load(`${NAME}-php-devel`)).toMatchObject({ kind: 'app', packages: { main: ['php-dev'] } });
    expect((await findDefinitions({ searchPath: [folder] })).map((found) => found.name)).toEqual([NAME, `${NAME}-php`, `${NAME}-php-devel`]);
  });
});

describe('the search path', () => {
  it('is TEMPLATEFS_TEMPLATES, the store, then what comes with templatefs', () => {
    vi.stubEnv('TEMPLATEFS_TEMPLATES', '/one:/two');
    const shipped = fileURLToPath(new URL('../../../templates', import.meta.url));
    expect(searchPathOf({ store: '/store' })).toEqual(['/one', '/two', '/store/definitions', shipped]);
  });

  it('finds the definition that comes with templatefs, and all of them are sound', async () => {
    const names = (await findDefinitions()).map((found) => found.name);
    expect(names).toContain(NAME);
    for (const name of names) {
      const definition = await loadDefinition(name);
      expect(definition.repositories.length).toBeGreaterThan(0);
      expect(definition.summary).not.toBe(name);
    }
    expect((await loadDefinition(NAME)).repositories[0]?.uri).toBe('http://deb.debian.org/debian');
  });
});
