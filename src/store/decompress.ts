import { spawn } from 'node:child_process';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { TemplatefsError } from '../core/errors.js';
import { badArchive } from './bad-archive.js';

const GZIP = Buffer.from([0x1f, 0x8b]);
const ZSTD = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
const XZ = Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]);
const BZIP2 = Buffer.from('BZh', 'latin1');
const MAGIC_LENGTH = 6;
const INFLATE_CHUNK_BYTES = 256 * 1024;

/**
 * The plain bytes of a stream that is plain or compressed with gzip, zstd or xz, told apart by its first bytes (a name
 * does not come with a pipe). A stream that is cut short or broken ends with an error, never as if it were whole.
 * @throws BAD_ARCHIVE; FAILED when the program for zstd or xz is missing
 */
export async function* decompress(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const input = source[Symbol.asyncIterator]();
  try {
    const start = await readStart(input);
    const whole = continueFrom(start, input);
    const startsWith = (magic: Buffer): boolean => start.subarray(0, magic.length).equals(magic);
    if (startsWith(GZIP)) yield* gunzip(whole);
    else if (startsWith(ZSTD)) yield* throughProgram('zstd', ['-dcq'], whole);
    else if (startsWith(XZ)) yield* throughProgram('xz', ['-dcq'], whole);
    else if (startsWith(BZIP2)) throw badArchive('bzip2 is not supported; use gzip, xz or zstd', 0);
    else yield* whole;
  } finally {
    await input.return?.();
  }
}

async function readStart(input: AsyncIterator<Buffer>): Promise<Buffer> {
  let start = Buffer.alloc(0);
  while (start.length < MAGIC_LENGTH) {
    const next = await input.next();
    if (next.done === true) break;
    start = start.length === 0 ? Buffer.from(next.value) : Buffer.concat([start, next.value]);
  }
  return start;
}

async function* continueFrom(start: Buffer, input: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  yield start;
  for (let next = await input.next(); next.done !== true; next = await input.next()) yield next.value;
}

async function* gunzip(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const inflate = createGunzip({ chunkSize: INFLATE_CHUNK_BYTES });
  // The pipeline's failure also destroys `inflate`, so it reaches the reader below as the stream's error.
  const feeding = pipeline(Readable.from(source), inflate).catch((error: unknown) => error);
  try {
    yield* inflate as AsyncIterable<Buffer>;
  } catch (error) {
    if (error instanceof TemplatefsError) throw error;
    throw badArchive(`the gzip stream is broken: ${error instanceof Error ? error.message : String(error)}`, 0, error);
  } finally {
    inflate.destroy();
    await feeding;
  }
}

async function* throughProgram(program: string, args: readonly string[], source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, LC_ALL: 'C' } });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = `${stderr}${text}`.slice(-4096)));
  const ended = new Promise<Error | undefined>((resolve) => {
    child.on('error', (error) => {
      resolve(programMissing(program, error));
    });
    child.on('close', (code, signal) => {
      resolve(code === 0 ? undefined : programFailed(program, args, signal ?? `exit ${String(code)}`, stderr));
    });
  });
  let sourceError: unknown;
  // EPIPE and the like only say that the program ended early; why, its exit status says.
  const feeding = pipeline(keepError(source, (error) => (sourceError = error)), child.stdin).catch(() => undefined);
  let finished = false;
  try {
    yield* child.stdout as AsyncIterable<Buffer>;
    await feeding;
    const failure = await ended;
    finished = true;
    if (sourceError !== undefined) throw sourceError as Error;
    if (failure !== undefined) throw failure;
  } finally {
    if (!finished) child.kill('SIGKILL');
    child.stdin.destroy();
    await feeding;
  }
}

async function* keepError(source: AsyncIterable<Buffer>, keep: (error: unknown) => void): AsyncGenerator<Buffer> {
  try {
    yield* source;
  } catch (error) {
    keep(error);
    throw error;
  }
}

function programMissing(program: string, cause: Error): TemplatefsError {
  return new TemplatefsError('FAILED', `cannot run ${program}: ${cause.message}`, {
    hint: `install ${program}, or decompress the archive and import it plain`,
    cause,
  });
}

function programFailed(program: string, args: readonly string[], status: string, stderr: string): TemplatefsError {
  return badArchive(`${program} ${args.join(' ')} failed (${status}): ${stderr.trim()}`, 0);
}
