import { readdirSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { WORK_FOLDER } from '../inputs/all.js';
import type { PeerRoot } from '../peers/peer.js';
import { runProgram } from '../runner/run-program.js';
import { CannotMeasure, SLOW_PEERS, USED, type RunContext, type Scenario } from './scenario.js';

/** The server refuses to be root. */
const USER = '65534';
const CLIENTS = 2;

function programs(): string {
  try {
    const newest = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a))[0];
    if (newest !== undefined) return join('/usr/lib/postgresql', newest, 'bin');
  } catch {
    // Not installed.
  }
  throw new CannotMeasure('PostgreSQL is not installed');
}

/** A command as that user, to be run in `socketFolder`. */
function asUser(socketFolder: string, program: string, ...args: string[]): [string, ...string[]] {
  return ['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups', '--', 'env', `PGHOST=${socketFolder}`, 'PGDATABASE=postgres', 'PGUSER=u', 'LC_ALL=C.UTF-8', join(programs(), program), ...args];
}

class Server {
  readonly data: string;
  /** For the socket and the log; not on the root. */
  readonly #beside: string;

  constructor(data: string, beside: string) {
    this.data = data;
    this.#beside = beside;
  }

  command(program: string, ...args: string[]): [string, ...string[]] {
    return asUser(this.#beside, program, ...args);
  }

  async run(program: string, args: readonly string[], signal?: AbortSignal): Promise<void> {
    const [command, ...rest] = this.command(program, ...args);
    await runProgram(command, rest, { cwd: '/', ...(signal !== undefined && { signal }) });
  }

  /** Not interruptible: a server whose pg_ctl was killed would go on starting, and nobody would stop it. */
  start(): Promise<void> {
    const settings = `-c listen_addresses= -c unix_socket_directories=${this.#beside} -c shared_buffers=32MB -c checkpoint_timeout=1h -c max_wal_size=1GB`;
    return this.run('pg_ctl', ['start', '-w', '-D', this.data, '-l', join(this.#beside, 'log'), '-o', settings]);
  }

  stop(): Promise<void> {
    return this.run('pg_ctl', ['stop', '-w', '-m', 'fast', '-D', this.data]);
  }
}

async function serverAt(data: string, { input, slot }: RunContext): Promise<Server> {
  const beside = join(input.places.scratch, `pg-${slot}`);
  await mkdir(beside, { recursive: true });
  await runProgram('chown', [`${USER}:${USER}`, beside]);
  return new Server(data, beside);
}

/** A database that was made once, to be copied into each root. */
function database(context: RunContext): Promise<string> {
  const { input, quick, signal } = context;
  programs();
  return input.prepared('postgresql', async (folder) => {
    await runProgram('chown', [`${USER}:${USER}`, folder]);
    const server = await serverAt(join(folder, 'data'), context);
    await server.run('initdb', ['-D', server.data, '-U', 'u', '-A', 'trust', '--no-sync'], signal);
    await server.start();
    try {
      await server.run('pgbench', ['-i', '-s', quick ? '1' : '4', '--quiet'], signal);
    } finally {
      await server.stop();
    }
  }).then((folder) => join(folder, 'data'));
}

function placeOf(root: PeerRoot): string {
  return join(root.path, WORK_FOLDER, 'postgresql');
}

export const pgbench: Scenario = {
  name: 'pgbench',
  group: 'work',
  what: `pgbench (TPC-B) with ${CLIENTS} clients; starting and stopping the server is not part of it`,
  meaning: 'a database server in a container',
  durability: 'each transaction is on disk when it is committed (fsync and synchronous_commit on)',
  variants: [USED],
  input: 'debian',
  weight: 'heavy',
  also: ['overlayfs-volatile'],
  needs: ['owners'],
  without: SLOW_PEERS,
  changesRoot: true,
  setUp: async (root, context) => {
    await runProgram('cp', ['-a', await database(context), placeOf(root)], { signal: context.signal });
  },
  run: async (root, context) => {
    const { driver, quick, signal } = context;
    const server = await serverAt(placeOf(root), context);
    await server.start();
    try {
      const load = server.command('pgbench', '-n', '-c', String(CLIENTS), '-t', quick ? '200' : '1000');
      return await driver.run(['run', ...load], signal, { cwd: '/' });
    } finally {
      await server.stop();
    }
  },
};
