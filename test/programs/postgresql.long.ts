import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { ProgramRoot, runChecked, VARIANTS } from '../support/program-root.js';
import { useScratch } from '../support/scratch.js';

const MINUTE = 60_000;
/** The server refuses to be root. */
const NOBODY = ['--reuid=65534', '--regid=65534', '--clear-groups', '--'];
const scratch = useScratch();
const running = new Set<Cluster>();

afterEach(async () => {
  for (const cluster of running) await cluster.stop('immediate').catch(() => undefined);
});

function programs(): string {
  const versions = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a));
  return join('/usr/lib/postgresql', versions[0] ?? '', 'bin');
}

/** One data folder and the server on it, which is reached by a socket only. */
class Cluster {
  readonly data: string;
  readonly #beside: string;

  private constructor(data: string, beside: string) {
    this.data = data;
    this.#beside = beside;
  }

  static async at(data: string): Promise<Cluster> {
    const beside = scratch.makeFolder('pg');
    await runChecked('chown', ['65534:65534', beside]);
    return new Cluster(data, beside);
  }

  async run(program: string, ...args: string[]): Promise<string> {
    return runChecked('setpriv', [...NOBODY, join(programs(), program), ...args], { cwd: '/', env: { PGHOST: this.#beside, PGDATABASE: 'postgres', PGUSER: 'u', LC_ALL: 'C.UTF-8' }, timeoutMs: 5 * MINUTE });
  }

  async make(scale: number): Promise<void> {
    await runChecked('install', ['-d', '-m', '0700', '-o', '65534', '-g', '65534', this.data]);
    await this.run('initdb', '-D', this.data, '--data-checksums', '-U', 'u', '-A', 'trust');
    await this.start();
    await this.run('pgbench', '-i', '-s', String(scale), '--quiet', '--foreign-keys');
  }

  async start(): Promise<void> {
    running.add(this);
    const settings = `-c listen_addresses= -c unix_socket_directories=${this.#beside} -c shared_buffers=16MB -c max_wal_size=64MB -c checkpoint_timeout=30s`;
    await this.run('pg_ctl', 'start', '-w', '-t', '120', '-D', this.data, '-l', join(this.#beside, 'log'), '-o', settings).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${readFileSync(join(this.#beside, 'log'), 'utf8').slice(-3000)}`);
    });
  }

  async stop(how = 'fast'): Promise<void> {
    running.delete(this);
    await this.run('pg_ctl', 'stop', '-w', '-m', how, '-D', this.data);
  }

  /** SIGKILL for the server and everything that it started. */
  async crash(): Promise<void> {
    const postmaster = Number(readFileSync(join(this.data, 'postmaster.pid'), 'utf8').split('\n')[0]);
    const children = readFileSync(`/proc/${postmaster}/task/${postmaster}/children`, 'utf8').trim().split(' ').map(Number);
    const pids = [postmaster, ...children.filter((child) => child > 0)];
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    // A zombie counts as a server that runs, and whoever inherits it may take its time.
    const deadline = performance.now() + MINUTE;
    while (pids.some((pid) => existsSync(`/proc/${pid}`))) {
      if (performance.now() > deadline) throw new Error('the killed server is not gone after a minute');
      await sleep(50);
    }
  }

  /** All data as SQL, without the two lines that have a new random key each time. */
  async dump(): Promise<string> {
    return (await this.run('pg_dump')).replace(/^\\(un)?restrict .*$/gm, '');
  }

  async load(seconds: number): Promise<void> {
    await this.run('pgbench', '-c', '4', '-j', '2', '-T', String(seconds), '--no-vacuum');
  }

  /** Every table and index is sound, and no transaction is there by half. */
  async check(): Promise<void> {
    await this.run('pg_amcheck', '--install-missing', '--heapallindexed', '--parent-check', '-d', 'postgres');
    const sums = await this.run('psql', '-At', '-F', ' ', '-c', 'SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history)');
    expect(new Set(sums.trim().split(' ')).size, sums).toBe(1);
    expect(sums.trim()).toMatch(/-?\d+ -?\d+/);
  }
}

test.each(VARIANTS)('PostgreSQL: pgbench, pg_amcheck, crash and recovery, $name', { timeout: 15 * MINUTE }, async (variant) => {
  const root = await ProgramRoot.mount(scratch, async (folder) => {
    const cluster = await Cluster.at(join(folder, 'old'));
    await runChecked('chmod', ['a+rx', folder]);
    await cluster.make(3);
    await cluster.load(2);
    await cluster.stop();
  });
  await runChecked('chmod', ['0777', root.path(variant.place)]);
  const old = await Cluster.at(root.path(variant.place, 'old'));
  const made = await Cluster.at(root.path(variant.place, 'new'));
  await root.inVariant(variant, async () => {
    await old.start();
    await old.check();
    await made.make(1);
    await Promise.all([old.load(8), made.load(8)]);
    for (const cluster of [old, made]) {
      await cluster.check();
      const busy = cluster.load(60).catch(() => 'the server went away, as it should');
      await sleep(2500);
      await cluster.crash();
      expect(await busy).toMatch(/went away/);
      await cluster.start();
      await cluster.check();
      await cluster.run('psql', '-c', 'VACUUM (FULL, ANALYZE) pgbench_accounts');
      await cluster.run('psql', '-c', 'REINDEX DATABASE postgres');
      await cluster.check();
    }
  });
  const dumps = [await old.dump(), await made.dump()];
  for (const dump of dumps) expect(dump).toMatch(/^COPY public.pgbench_accounts /m);
  for (const cluster of [old, made]) {
    await cluster.stop();
    await cluster.run('pg_checksums', '--check', '-D', cluster.data);
  }
  await root.expectTemplateUntouched();
  for (const [number, cluster] of [old, made].entries()) {
    await cluster.start();
    expect((await cluster.dump()) === dumps[number], 'the dump after a remount is that before it').toBe(true);
    await cluster.stop();
  }
});
