import { beforeAll, describe, expect, test } from 'vitest';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

/* The app templates that come with templatefs, from the real mirror: a template of each, and a container in which its programs answer. */

const MINUTES = 60_000;
const OS = 'debian-12-x86_64';
const scratch = useScratch();
let store: TestStore;

const ANSWERS: readonly (readonly [string, string, RegExp])[] = [
  ['nginx', 'nginx -t 2>&1', /syntax is ok/],
  ['redis', 'redis-server --version', /Redis server v=7/],
  ['python', 'python3 -m venv --help >/dev/null && python3 -c "print(6 * 7)"', /^42$/m],
  ['php', 'php -r "echo 6 * 7, chr(10);" && php-fpm8.2 -t 2>&1', /^42\n.*test is successful/s],
  ['postgresql', 'su postgres -c "/usr/lib/postgresql/15/bin/pg_controldata /var/lib/postgresql/15/main"', /system identifier: +\d+/],
  ['mariadb', 'mariadbd --version && ls /var/lib/mysql/mysql', /MariaDB.*global_priv/s],
];

describe('app templates', { timeout: 20 * MINUTES }, () => {
  beforeAll(async () => {
    store = scratch.makeStore();
    const { status, stderr } = await store.run(['template', 'create', OS], { timeoutMs: 10 * MINUTES });
    expect(status, stderr).toBe(0);
  }, 11 * MINUTES);

  test.each(ANSWERS)('%s', async (app, script, answer) => {
    const made = await store.run(['template', 'create', OS, '--apptemplate', app], { timeoutMs: 15 * MINUTES });
    expect(made.status, made.stderr).toBe(0);
    await store.ok('create', app, '--ostemplate', `${OS}-${app}`);
    const exec = (text: string): Promise<string> => store.ok('exec', app, '--no-network', '--', 'sh', '-ec', text);
    expect(await exec(script)).toMatch(answer);
    expect(await exec('dpkg --audit; dpkg --verify | grep -v " c /" || :')).toBe('');
    await store.ok('destroy', app);
  });
});
