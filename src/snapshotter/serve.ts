import { chmodSync, lstatSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, resolve } from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { HeldLocks } from '../catalog/lock.js';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import { EngineLauncher } from '../engine/engine-launcher.js';
import { checkFuse } from '../engine/mount-engine.js';
import { lock, openForWriting, type ServiceContext } from '../service/context.js';
import { makeFolder } from '../store/write-file-durably.js';
import { snapshotHandlers } from './handlers.js';
import { Orphans } from './orphans.js';
import { snapshotsService } from './service-definition.js';
import { Snapshotter } from './snapshotter.js';
import { statusOf } from './status.js';

export interface ServeOptions {
  /** Path of the socket that containerd is to be told of. */
  readonly address: string;
  /** Gives the space of removed images back after containerd's own garbage collections. */
  readonly collectsGarbage: boolean;
  /** Called when containerd can connect. */
  readonly onReady: (address: string) => void;
}

/** Longest path of a socket: sockaddr_un. */
const MAX_ADDRESS_BYTES = 107;
/** What others do to templates and containers takes its time; containerd waits. */
const LOCK_WAIT_MS = 60_000;
/** A commit of a large layer takes that long at most on a slow disk. */
const SHUTDOWN_WAIT_MS = 120_000;
const MESSAGE_BYTES = 16 * 1024 * 1024;

/**
 * Serves containerd's API of snapshots until the signal comes; then ends what is under way. Roots stay mounted.
 *
 * @throws USAGE, BUSY when another one serves this store or this address, FUSE_UNAVAILABLE, INTEGRITY, STORE_NOT_WRITABLE
 */
export async function serveSnapshots(context: ServiceContext, options: ServeOptions): Promise<void> {
  const { paths, signal } = context;
  const address = resolve(options.address);
  if (Buffer.byteLength(address) > MAX_ADDRESS_BYTES) {
    throw new TemplatefsError('USAGE', `the path of the socket is longer than ${MAX_ADDRESS_BYTES} bytes: ${address}`, { hint: 'choose a shorter one, for example in /run' });
  }
  checkFuse();
  // Makes the store, and finishes what killed commands left.
  (await openForWriting(context))[Symbol.dispose]();
  using locks = new HeldLocks();
  locks.hold(await lock(context, { name: 'snapshotter', what: 'the snapshotter of this store', mode: 'exclusive' }));
  using launcher = new EngineLauncher();
  // Without the signal: what is under way is finished.
  const patient: ServiceContext = {
    paths,
    waitMs: LOCK_WAIT_MS,
    launcher,
    ...(context.onNotice !== undefined && { onNotice: context.onNotice }),
    ...(context.onLog !== undefined && { onLog: context.onLog }),
  };
  const orphans = new Orphans(patient, options.collectsGarbage);
  const snapshotter = await Snapshotter.open(patient, orphans);
  await clearAddress(address);
  const server = new Server({ 'grpc.max_receive_message_length': MESSAGE_BYTES, 'grpc.max_send_message_length': MESSAGE_BYTES });
  server.addService(snapshotsService(), snapshotHandlers(snapshotter, (call, error) => context.onNotice?.(`${call}: ${statusOf(error).details}`)));
  try {
    await bind(server, address);
    options.onReady(address);
    await ended(signal);
  } finally {
    await shutDown(server);
    rmSync(address, { force: true });
    await snapshotter.settle();
  }
}

/** Removes a socket that a killed snapshotter left. @throws BUSY if somebody serves it, USAGE if it is no socket */
async function clearAddress(address: string): Promise<void> {
  makeFolder(dirname(address), 0o711);
  const found = lstatSync(address, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new TemplatefsError('USAGE', `${address} is there, and is no socket`, { hint: 'choose another path for the socket' });
  if (await answers(address)) {
    throw new TemplatefsError('BUSY', `another program serves the socket ${address}`, { hint: 'choose another path for the socket, or end that program' });
  }
  rmSync(address, { force: true });
}

async function answers(address: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(address);
    socket.on('connect', () => {
      socket.destroy();
      done(true);
    });
    socket.on('error', () => { done(false); });
  });
}

async function bind(server: Server, address: string): Promise<void> {
  // Only root may ask.
  const mask = process.umask(0o177);
  try {
    await new Promise<void>((done, fail) => {
      server.bindAsync(`unix://${address}`, ServerCredentials.createInsecure(), (error) => {
        if (error === null) done();
        else fail(error);
      });
    });
  } catch (error) {
    throw new TemplatefsError('FAILED', `cannot serve the socket ${address}: ${errnoOf(error) ?? String(error)}`, { hint: 'see that its folder is there and can be written to', cause: error });
  } finally {
    process.umask(mask);
  }
  chmodSync(address, 0o600);
}

async function ended(signal: AbortSignal | undefined): Promise<void> {
  // The server keeps the process alive.
  await new Promise<void>((done) => {
    if (signal?.aborted === true) done();
    signal?.addEventListener('abort', () => { done(); }, { once: true });
  });
}

/** What is under way is answered first. */
async function shutDown(server: Server): Promise<void> {
  const late = setTimeout(() => { server.forceShutdown(); }, SHUTDOWN_WAIT_MS);
  await new Promise<void>((done) => { server.tryShutdown(() => { done(); }); });
  clearTimeout(late);
}
