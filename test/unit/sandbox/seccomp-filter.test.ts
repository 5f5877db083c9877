// Runs the filter in a small interpreter of classic BPF: the answers are checked on any machine, for each architecture.

import { describe, expect, it } from 'vitest';
import { seccompFilter } from '../../../src/sandbox/seccomp-filter.js';

const ALLOW = 0x7fff0000;
const EPERM = 0x00050001;
const ENOSYS = 0x00050026;

interface Call {
  readonly audit: number;
  readonly number: number;
  readonly args?: readonly number[];
}

function answerOf(filter: Buffer, call: Call): number {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(call.number >>> 0, 0);
  data.writeUInt32LE(call.audit >>> 0, 4);
  (call.args ?? []).forEach((value, index) => data.writeBigUInt64LE(BigInt(value >>> 0), 16 + 8 * index));
  let accumulator = 0;
  for (let at = 0; at < filter.length / 8; at++) {
    const [code, yes, no, value] = [filter.readUInt16LE(8 * at), filter.readUInt8(8 * at + 2), filter.readUInt8(8 * at + 3), filter.readUInt32LE(8 * at + 4)];
    if (code === 0x06) return value;
    else if (code === 0x20) accumulator = data.readUInt32LE(value);
    else if (code === 0x15) at += accumulator === value ? yes : no;
    else if (code === 0x35) at += accumulator >= value ? yes : no;
    else if (code === 0x45) at += (accumulator & value) !== 0 ? yes : no;
    else throw new Error(`unknown instruction ${code.toString(16)}`);
  }
  throw new Error('ran off the end');
}

const ABIS = [
  { name: 'x86-64', architecture: 'x64', audit: 0xc000003e, ioctl: 16, clone: 56, unshare: 272, keyctl: 250, read: 0 },
  { name: 'i386', architecture: 'x64', audit: 0x40000003, ioctl: 54, clone: 120, unshare: 310, keyctl: 288, read: 3 },
  { name: 'aarch64', architecture: 'arm64', audit: 0xc00000b7, ioctl: 29, clone: 220, unshare: 97, keyctl: 219, read: 63 },
  { name: 'arm', architecture: 'arm64', audit: 0x40000028, ioctl: 54, clone: 120, unshare: 337, keyctl: 311, read: 3 },
];

for (const { name, architecture, audit, ioctl, clone, unshare, keyctl, read } of ABIS) {
  describe(name, () => {
    const filter = seccompFilter(architecture) ?? Buffer.alloc(0);
    const answer = (number: number, ...args: number[]): number => answerOf(filter, { audit, number, args });

    it('allows what is ordinary', () => {
      expect(answer(read, 0)).toBe(ALLOW);
      expect(answer(ioctl, 0, 0x5401)).toBe(ALLOW); // TCGETS
      expect(answer(clone, 0x01200011)).toBe(ALLOW); // fork
      expect(answer(unshare, 0x00020000)).toBe(ALLOW); // CLONE_NEWNS: capabilities decide
    });

    it('refuses typing into the terminal', () => {
      expect(answer(ioctl, 0, 0x5412)).toBe(EPERM);
      expect(answer(ioctl, 0, 0x541c)).toBe(EPERM);
    });

    it('refuses user namespaces and keyrings', () => {
      expect(answer(clone, 0x10000011)).toBe(EPERM);
      expect(answer(unshare, 0x10000000)).toBe(EPERM);
      expect(answer(unshare, 0x10020000)).toBe(EPERM);
      expect(answer(keyctl, 0)).toBe(EPERM);
      expect(answer(435)).toBe(ENOSYS); // clone3
      expect(answer(425)).toBe(EPERM); // io_uring_setup
    });
  });
}

it('knows no call of another ABI', () => {
  const filter = seccompFilter('x64') ?? Buffer.alloc(0);
  expect(answerOf(filter, { audit: 0xc000003e, number: 0x40000000 + 16, args: [0, 0x5412] })).toBe(ENOSYS); // x32
  expect(answerOf(filter, { audit: 0x80000016, number: 1 })).toBe(ENOSYS); // s390x
});

it('is not there for an architecture that it was not written for', () => {
  expect(seccompFilter('riscv64')).toBeUndefined();
});
