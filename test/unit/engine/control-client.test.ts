import { mkdirSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { FRAME_LIMIT_BYTES, controlRequest, isNobodyThere, decodeFrame, encodeFrame } from '../../../src/engine/control-client.js';
import { temporaryFolder } from '../catalog/temporary-store.js';

/** A control socket that answers a request with these bytes, in these pieces; what it was asked is given back. */
async function fakeEngine(
  answer: (socket: Socket) => void,
  folder = temporaryFolder(),
): Promise<{ socket: string; asked: string[][] }> {
  const asked: string[][] = [];
  const server = createServer((socket) => {
    let bytes = Buffer.alloc(0);
    socket.on('error', () => undefined);
    socket.on('data', (piece: Buffer) => {
      bytes = Buffer.concat([bytes, piece]);
      const fields = decodeFrame(bytes);
      if (fields === undefined) return;
      asked.push(fields);
      answer(socket);
    });
  });
  const socket = join(folder, 'control');
  // A long path is reached through its folder, by the fake as by the engine.
  const cwd = process.cwd();
  process.chdir(folder);
  await new Promise<void>((resolve) => server.listen('control', resolve));
  process.chdir(cwd);
  onTestFinished(() => void server.close());
  return { socket, asked };
}

function reply(...fields: string[]): (socket: Socket) => void {
  return (socket) => socket.end(encodeFrame(fields));
}

describe('frames', () => {
  test('are read back, whatever the pieces', () => {
    const frame = encodeFrame(['status', '', 'ä=ö']);
    expect(decodeFrame(frame)).toEqual(['status', '', 'ä=ö']);
    for (let length = 0; length < frame.length; length++) expect(decodeFrame(frame.subarray(0, length))).toBeUndefined();
  });

  test('that break the protocol are refused', () => {
    const header = (length: number): Buffer => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32LE(length);
      return bytes;
    };
    expect(() => decodeFrame(header(FRAME_LIMIT_BYTES + 1))).toThrow(/too long/);
    expect(() => decodeFrame(header(0))).toThrow(/NUL/);
    expect(() => decodeFrame(Buffer.concat([header(2), Buffer.from('ok')]))).toThrow(/NUL/);
    expect(() => decodeFrame(Buffer.concat([encodeFrame(['ok']), Buffer.from('x')]))).toThrow(/after the end/);
    expect(() => encodeFrame(['a\0b'])).toThrow(/NUL/);
    expect(() => encodeFrame(['x'.repeat(FRAME_LIMIT_BYTES)])).toThrow(/too long/);
  });
});

describe('controlRequest', () => {
  test('sends the fields and gives the reply', async () => {
    const { socket, asked } = await fakeEngine(reply('ok', 'container=c1', 'passthrough=no: a=b'));
    const status = await controlRequest(socket, ['stop', 'force']);
    expect(asked).toEqual([['stop', 'force']]);
    expect(Object.fromEntries(status)).toEqual({ container: 'c1', passthrough: 'no: a=b' });
  });

  test('takes a reply that comes byte by byte', async () => {
    const { socket } = await fakeEngine((peer) => {
      const frame = encodeFrame(['ok', 'version=1']);
      const next = (at: number): void => {
        if (at === frame.length) peer.end();
        else peer.write(frame.subarray(at, at + 1), () => setImmediate(next, at + 1));
      };
      next(0);
    });
    expect((await controlRequest(socket, ['status'])).get('version')).toBe('1');
  });

  test("gives the engine's own error", async () => {
    const { socket } = await fakeEngine(reply('error', 'BUSY', 'the root is in use'));
    await expect(controlRequest(socket, ['stop'])).rejects.toMatchObject({ code: 'BUSY', message: 'the root is in use' });
  });

  test('makes ENGINE_FAILED of a code that it does not know', async () => {
    const { socket } = await fakeEngine(reply('error', 'ODD', 'text'));
    await expect(controlRequest(socket, ['stop'])).rejects.toMatchObject({ code: 'ENGINE_FAILED', message: 'ODD: text' });
  });

  test.each([
    ['is cut short', (peer: Socket) => peer.end(encodeFrame(['ok', 'a=b']).subarray(0, 7)), /before the reply was complete/],
    ['is nothing', (peer: Socket) => peer.end(), /before the reply was complete/],
    ['is too long', (peer: Socket) => peer.write(Buffer.from([255, 255, 255, 127])), /too long/],
    ['starts with another word', reply('perhaps'), /starts with "perhaps"/],
    ['has a field without =', reply('ok', 'odd'), /without key=value/],
    ['has too few error fields', reply('error', 'BUSY'), /starts with "error"/],
    ['does not come', () => undefined, /no reply within 100 ms/],
  ])('an answer that %s is an error that says so', async (_what, answer: (socket: Socket) => unknown, message) => {
    const { socket } = await fakeEngine((peer) => void answer(peer));
    await expect(controlRequest(socket, ['status'], { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'ENGINE_FAILED',
      message: expect.stringMatching(message) as string,
    });
  });

  test('says that nobody is there', async () => {
    const error: unknown = await controlRequest(join(temporaryFolder(), 'control'), ['status']).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'ENGINE_FAILED', message: expect.stringMatching(/^no engine answers at /) as string });
    expect(isNobodyThere(error)).toBe(true);
  });

  test('reaches a socket whose path is longer than an address may be', async () => {
    const folder = join(temporaryFolder(), 'x'.repeat(120));
    mkdirSync(folder);
    const { socket } = await fakeEngine(reply('ok', 'version=1'), folder);
    expect((await controlRequest(socket, ['status'])).get('version')).toBe('1');
  });
});
