import { Writable } from 'node:stream';
import type { ContainerPrograms } from '../../src/packages/package-manager.js';
import { runInSandbox } from '../../src/sandbox/run-in-sandbox.js';

function collect(): { stream: Writable; text: () => string } {
  const pieces: Buffer[] = [];
  const stream = new Writable({
    write(piece: Buffer, _encoding, done) {
      pieces.push(piece);
      done();
    },
  });
  return { stream, text: () => Buffer.concat(pieces).toString('utf8') };
}

/** What a driver of a package manager runs in a mounted root, for tests of drivers alone. */
export function sandboxPrograms(root: string, onLine?: (line: string) => void): ContainerPrograms {
  return {
    async run(command) {
      const [stdout, stderr] = [collect(), collect()];
      const status = await runInSandbox({
        root,
        hostname: 'test',
        command: ['/bin/sh', '-c', command.script, 'sh', ...(command.arguments ?? [])],
        network: false,
        env: { TEMPLATEFS_SERVICES: 'none', ...command.environment },
        stdio: { stdout: stdout.stream, stderr: stderr.stream },
        leftRunning: 'kill',
        ...(command.input !== undefined && { input: command.input }),
      });
      for (const line of `${stdout.text()}\n${stderr.text()}`.split('\n')) {
        command.onLine?.(line);
        onLine?.(line);
      }
      return { status, output: stdout.text(), errors: stderr.text() };
    },
  };
}
