import { spawn } from 'node:child_process';
import { TemplatefsError } from '../core/errors.js';

/**
 * Makes everything on the file system that holds `folder` durable (syncfs(2)): one call for a whole batch costs far
 * less than an fsync for each of thousands of small files. Node.js has no syncfs, coreutils' `sync -f` does it.
 * @throws NO_SPACE, IO_ERROR when the file system could not write everything
 */
export async function syncFileSystem(folder: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const child = spawn('sync', ['-f', '--', folder], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', (cause) => {
      reject(new TemplatefsError('FAILED', `cannot run sync: ${cause.message}`, { hint: 'install coreutils', cause }));
    });
    child.on('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(syncError(folder, signal ?? `exit ${String(code)}`, stderr.trim()));
    });
  });
}

/** File systems that allocate late report a lack of space only here. */
function syncError(folder: string, status: string, stderr: string): TemplatefsError {
  const message = `sync -f ${folder} failed (${status}): ${stderr}`;
  if (/No space left|Disk quota exceeded/.test(stderr)) {
    return new TemplatefsError('NO_SPACE', message, { hint: 'free some space on the file system of the store, then run the command again' });
  }
  return new TemplatefsError('IO_ERROR', message, { hint: 'look at dmesg: the disk below the store reports errors' });
}
