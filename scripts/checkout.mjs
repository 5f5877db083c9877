// What the scripts of a checkout share: where it is, running programs, and stamps that tell whether work is done.
// Plain Node.js without dependencies: these run before npm ci.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** A failure that needs no stack trace: it has been told already, or its message tells all. */
export class ScriptError extends Error {}

export function say(text) {
  process.stdout.write(`${text}\n`);
}

const running = new Set();
let interrupted = false;

/**
 * Runs a program from the root of the checkout with this terminal.
 *
 * @param options.evenInterrupted run it also after Ctrl-C: for cleaning up
 * @param options.onOutput gets each piece of its stdout, which is shown all the same; options.quiet hides it
 * @returns its exit status, 128 + n for a signal
 */
export function run(program, args, options = {}) {
  return new Promise((done, fail) => {
    if (interrupted && options.evenInterrupted !== true) {
      fail(new ScriptError('interrupted'));
      return;
    }
    const piped = options.onOutput !== undefined;
    const child = spawn(program, args, {
      cwd: ROOT,
      env: { ...process.env, ...options.env },
      stdio: [options.stdin ?? 'inherit', piped ? 'pipe' : 'inherit', 'inherit'],
    });
    running.add(child);
    if (piped) {
      child.stdout.setEncoding('utf8');
      child.stdout.on('data', (text) => {
        options.onOutput(text);
        if (options.quiet !== true) process.stdout.write(text);
      });
    }
    child.once('error', (error) => {
      running.delete(child);
      fail(new ScriptError(`cannot run ${program}: ${error.message}`));
    });
    child.once('close', (code, signal) => {
      running.delete(child);
      if (interrupted && options.evenInterrupted !== true) fail(new ScriptError('interrupted'));
      else done(signal === null ? code : 128 + ({ SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 }[signal] ?? 0));
    });
  });
}

/** As `run`; a status other than 0 is an error. */
export async function mustRun(program, args, options = {}) {
  const status = await run(program, args, options);
  if (status !== 0) throw new ScriptError(`${options.name ?? `${program} ${args.join(' ')}`} failed (exit status ${status})`);
}

/** Passes SIGTERM and SIGHUP on to what `run` has started (Ctrl-C reaches it from the terminal), and starts nothing more. */
export function passSignalsOn() {
  for (const name of ['SIGTERM', 'SIGHUP', 'SIGINT']) {
    process.on(name, () => {
      interrupted = true;
      if (name !== 'SIGINT') for (const child of running) child.kill(name);
    });
  }
}

function listFiles(path) {
  const at = join(ROOT, path);
  if (!existsSync(at)) return [];
  let entries;
  try {
    entries = readdirSync(at, { withFileTypes: true });
  } catch (error) {
    if (error.code === 'ENOTDIR') return [path];
    throw error;
  }
  return entries.flatMap((entry) => (entry.isDirectory() ? listFiles(join(path, entry.name)) : entry.isFile() ? [join(path, entry.name)] : []));
}

/** A digest of the names and contents of files and folders, given relative to the root, and of `more`. */
export function digestOf(paths, more = '') {
  const hash = createHash('sha256').update(`${process.version} ${process.arch} ${more}\n`);
  for (const file of paths.flatMap(listFiles).sort()) {
    const content = readFileSync(join(ROOT, file));
    hash.update(`${relative('.', file)} ${content.length}\n`).update(content);
  }
  return hash.digest('hex');
}

export function readStamp(path) {
  try {
    return readFileSync(join(ROOT, path), 'utf8').trim();
  } catch {
    return undefined;
  }
}

export function writeStamp(path, value) {
  mkdirSync(dirname(join(ROOT, path)), { recursive: true });
  writeFileSync(join(ROOT, path), `${value}\n`);
}

/** Ends a script: its errors as one line, its result as the exit status. */
export async function main(work) {
  try {
    process.exitCode = (await work()) ?? 0;
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = interrupted ? 130 : 1;
  }
}
