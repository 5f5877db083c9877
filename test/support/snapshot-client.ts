import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import type { Info, Labels, ListResponse, Mount, MountsResponse, InfoResponse, UsageResponse } from '../../src/snapshotter/messages.js';
import { snapshotsService } from '../../src/snapshotter/service-definition.js';
import { CLI } from './project.js';

/** Asks a snapshotter as containerd does. What it answers with an error is thrown, with gRPC's `code`. */
export class SnapshotClient {
  readonly #client: Client;

  constructor(address: string) {
    this.#client = new Client(`unix://${address}`, credentials.createInsecure());
  }

  close(): void {
    this.#client.close();
  }

  async prepare(key: string, parent: string, labels: Labels = {}): Promise<Mount> {
    return onlyMount(await this.#ask<MountsResponse>('Prepare', { key, parent, labels }));
  }

  async view(key: string, parent: string, labels: Labels = {}): Promise<Mount> {
    return onlyMount(await this.#ask<MountsResponse>('View', { key, parent, labels }));
  }

  async mounts(key: string): Promise<Mount> {
    return onlyMount(await this.#ask<MountsResponse>('Mounts', { key }));
  }

  async commit(name: string, key: string, labels: Labels = {}): Promise<void> {
    await this.#ask('Commit', { name, key, labels });
  }

  async remove(key: string): Promise<void> {
    await this.#ask('Remove', { key });
  }

  async stat(key: string): Promise<Info> {
    return (await this.#ask<InfoResponse>('Stat', { key })).info;
  }

  async update(info: Partial<Info>, ...paths: string[]): Promise<Info> {
    return (await this.#ask<InfoResponse>('Update', { info, update_mask: { paths } })).info;
  }

  usage(key: string): Promise<UsageResponse> {
    return this.#ask<UsageResponse>('Usage', { key });
  }

  async cleanUp(): Promise<void> {
    await this.#ask('Cleanup', {});
  }

  list(...filters: string[]): Promise<Info[]> {
    const { path, requestSerialize, responseDeserialize } = method('List');
    return new Promise((resolve, reject) => {
      const infos: Info[] = [];
      const call = this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { filters });
      call.on('data', ({ info }: ListResponse) => infos.push(...info));
      call.on('error', reject);
      call.on('end', () => { resolve(infos); });
    });
  }

  #ask<Response>(name: string, request: object): Promise<Response> {
    const { path, requestSerialize, responseDeserialize } = method(name);
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error: ServiceError | null, response?: unknown) => {
        if (error === null) resolve(response as Response);
        else reject(error);
      });
    });
  }
}

function method(name: string): ReturnType<typeof snapshotsService>[string] {
  const found = snapshotsService()[name];
  if (found === undefined) throw new Error(`the API has no call ${name}`);
  return found;
}

function onlyMount({ mounts }: MountsResponse): Mount {
  const [mount, ...others] = mounts;
  if (mount === undefined || others.length > 0) throw new Error(`${mounts.length} mounts`);
  return mount;
}

/** A snapshotter as a process of its own. */
export class SnapshotterProcess {
  readonly address: string;
  readonly #store: string;
  #child: ChildProcess | undefined;
  #said = '';

  constructor(store: string, address: string) {
    this.#store = store;
    this.address = address;
  }

  /** What it has said since its last start. */
  get said(): string {
    return this.#said;
  }

  async start(...options: string[]): Promise<void> {
    this.#said = '';
    const child = spawn(CLI, ['--store', this.#store, 'snapshotter', '--address', this.address, ...options], { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child = child;
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#said += text));
    const deadline = performance.now() + 60_000;
    while (!this.#said.includes('serving containerd')) {
      if (child.exitCode !== null || performance.now() > deadline) throw new Error(`the snapshotter does not start:\n${this.#said}`);
      await sleep(10);
    }
    if (!existsSync(this.address)) throw new Error(`there is no socket ${this.address}`);
  }

  /** @returns its exit status, or the signal that ended it */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | string | null> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined) return null;
    if (child.exitCode === null && child.signalCode === null) {
      const over = new Promise((resolve) => child.once('exit', resolve));
      child.kill(signal);
      await over;
    }
    return child.exitCode ?? child.signalCode;
  }
}
