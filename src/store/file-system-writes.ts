import { spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { enginePath } from '../core/engine-path.js';
import { TemplatefsError, storeWriteError } from '../core/errors.js';

/**
 * What is written to a file system from now on, by whomever, until it is made durable as a whole: one syncfs(2) for thousands of small files
 * costs far less than an fsync for each. Linux tells of a write that failed once to each who has the file system open *since before*; whoever
 * opens it afterwards does not hear of it if somebody else has. So this is begun before the first byte is written.
 */
export class FileSystemWrites {
  readonly #folder: string;
  readonly #fd: number;
  #isOpen = true;

  private constructor(folder: string, fd: number) {
    this.#folder = folder;
    this.#fd = fd;
  }

  /** @param folder any of the file system @throws NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR; the error of open(2) */
  static begin(folder: string): FileSystemWrites {
    try {
      return new FileSystemWrites(folder, openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY));
    } catch (error) {
      throw storeWriteError(error, folder);
    }
  }

  /**
   * Makes all of it durable. Node.js has no syncfs(2); the engine's binary does it, to the folder that is open here.
   * @throws NO_SPACE, IO_ERROR when something could not be written since `begin`, or since it was last told here; ENGINE_FAILED
   */
  async sync(): Promise<void> {
    const binary = enginePath();
    await new Promise<void>((resolve, reject) => {
      // Its own group: an interrupt from the terminal reaches this process, which then decides.
      const child = spawn(binary, ['syncfs'], { stdio: [this.#fd, 'ignore', 'pipe'], detached: true });
      let stderr = '';
      child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
      child.on('error', (cause) => {
        reject(new TemplatefsError('ENGINE_FAILED', `cannot run ${binary}`, { hint: 'build it: npm run setup', cause }));
      });
      child.on('close', (code, signal) => {
        if (code === 0) resolve();
        else reject(syncError(this.#folder, signal ?? `exit ${String(code)}`, stderr.trim()));
      });
    });
  }

  /** Does nothing a second time. */
  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    closeSync(this.#fd);
  }
}

/** Makes durable what was written to the file system of `folder` before, by others who look after their errors themselves. @throws as `sync` */
export async function syncFileSystem(folder: string): Promise<void> {
  using writes = FileSystemWrites.begin(folder);
  await writes.sync();
}

/** File systems that allocate late report a lack of space only here. */
function syncError(folder: string, status: string, stderr: string): TemplatefsError {
  const [, code, message] = /^templatefs-engine: ([A-Z_]+): (.*)$/m.exec(stderr) ?? [];
  const text = `not all that was written to the file system of ${folder} is on the disk: ${message ?? `syncfs ended with ${status}: ${stderr}`}`;
  if (code === 'NO_SPACE') {
    return new TemplatefsError('NO_SPACE', text, { hint: 'free some space on the file system of the store, then run the command again' });
  }
  return new TemplatefsError('IO_ERROR', text, { hint: 'look at dmesg: the disk below the store reports errors' });
}
