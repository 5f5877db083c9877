import { spawn, type ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Scratch } from './scratch.js';

/** Debian's docker-registry on loopback, with its images in the scratch folder. */
export class Registry {
  readonly address: string;
  readonly #process: ChildProcess;

  private constructor(address: string, child: ChildProcess) {
    this.address = address;
    this.#process = child;
  }

  static async start(scratch: Scratch): Promise<Registry> {
    const probe = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => probe.once('listening', resolve));
    const address = `127.0.0.1:${(probe.address() as AddressInfo).port}`;
    probe.close();
    const config = scratch.path('registry.yml');
    writeFileSync(config, `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${scratch.makeFolder('registry')}}}\nhttp: {addr: "${address}"}\n`);
    const child = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
    for (let tries = 0; ; tries += 1) {
      try {
        await fetch(`http://${address}/v2/`);
        return new Registry(address, child);
      } catch (error) {
        if (tries > 600) throw error;
        await sleep(50);
      }
    }
  }

  end(): void {
    this.#process.kill('SIGKILL');
  }
}
