// The system calls that a command in the sandbox may not make, as a classic BPF program for seccomp(2).
//
// Capabilities already stop most of what is dangerous. This filter closes what they do not:
// - TIOCSTI and TIOCLINUX, with which a program types into the terminal that it was started from, so that an
//   interactive `exec` would let a container run commands in the host's shell (CVE-2017-5226);
// - keyrings, which are not part of any namespace: root of the container would see the keys of root of the host;
// - new user namespaces, in which a process has all capabilities again and reaches far more of the kernel;
// - bpf, perf_event_open, userfaultfd and io_uring: much attack surface, not needed to install and run packages.
// clone3 passes its flags in memory, where a filter cannot look, so it is answered ENOSYS and C libraries use clone.

interface Abi {
  /** AUDIT_ARCH_* of <linux/audit.h>. */
  readonly audit: number;
  readonly ioctl: number;
  readonly clone: number;
  readonly unshare: number;
  readonly denied: readonly number[];
  /** x86-64 only: calls with this bit are of the x32 ABI, which has its own numbers; they are refused as unknown. */
  readonly x32?: boolean;
}

const CLONE3 = 435;
const IO_URING = [425, 426, 427];

const X86_64: Abi = { audit: 0xc000003e, ioctl: 16, clone: 56, unshare: 272, denied: [248, 249, 250, 298, 321, 323, ...IO_URING], x32: true };
const I386: Abi = { audit: 0x40000003, ioctl: 54, clone: 120, unshare: 310, denied: [286, 287, 288, 336, 357, 374, ...IO_URING] };
const AARCH64: Abi = { audit: 0xc00000b7, ioctl: 29, clone: 220, unshare: 97, denied: [217, 218, 219, 241, 280, 282, ...IO_URING] };
const ARM: Abi = { audit: 0x40000028, ioctl: 54, clone: 120, unshare: 337, denied: [309, 310, 311, 364, 386, 388, ...IO_URING] };

const ABIS: Readonly<Record<string, readonly Abi[]>> = { x64: [X86_64, I386], arm64: [AARCH64, ARM] };

// <linux/bpf_common.h>, <linux/seccomp.h>
const LOAD = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_ANY_BIT = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN = 0x06; // BPF_RET | BPF_K
const ALLOW = 0x7fff0000;
const FAIL = 0x00050000; // SECCOMP_RET_ERRNO, plus the errno
const EPERM = 1;
const ENOSYS = 38;

const OFFSET_NR = 0;
const OFFSET_ARCH = 4;
const OFFSET_ARG0 = 16; // low half of a little-endian u64
const OFFSET_ARG1 = 24;

const CLONE_NEWUSER = 0x10000000;
const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;
const X32_BIT = 0x40000000;

interface Instruction {
  readonly code: number;
  readonly jumpTrue?: number;
  readonly jumpFalse?: number;
  readonly value: number;
}

const load = (offset: number): Instruction => ({ code: LOAD, value: offset });
const answer = (value: number): Instruction => ({ code: RETURN, value });

/** `then` runs, and has to return, when the comparison holds; else the program goes on behind it. */
function when(code: number, value: number, then: readonly Instruction[]): Instruction[] {
  return [{ code, value, jumpTrue: 0, jumpFalse: then.length }, ...then];
}

function rulesFor(abi: Abi): Instruction[] {
  const fail = [answer(FAIL | EPERM)];
  const unlessNewUser = [load(OFFSET_ARG0), ...when(JUMP_ANY_BIT, CLONE_NEWUSER, fail), answer(ALLOW)];
  return [
    load(OFFSET_NR),
    ...(abi.x32 === true ? when(JUMP_AT_LEAST, X32_BIT, [answer(FAIL | ENOSYS)]) : []),
    ...abi.denied.flatMap((number) => when(JUMP_EQUAL, number, fail)),
    ...when(JUMP_EQUAL, CLONE3, [answer(FAIL | ENOSYS)]),
    ...when(JUMP_EQUAL, abi.clone, unlessNewUser),
    ...when(JUMP_EQUAL, abi.unshare, unlessNewUser),
    ...when(JUMP_EQUAL, abi.ioctl, [load(OFFSET_ARG1), ...when(JUMP_EQUAL, TIOCSTI, fail), ...when(JUMP_EQUAL, TIOCLINUX, fail), answer(ALLOW)]),
    answer(ALLOW),
  ];
}

/**
 * The filter as `bwrap --seccomp` reads it: an array of struct sock_filter.
 *
 * @param architecture as in process.arch; x64 and arm64, with the 32-bit calls that their kernels take too
 * @returns undefined for any other architecture: there the sandbox has no filter
 */
export function seccompFilter(architecture: string = process.arch): Buffer | undefined {
  const abis = ABIS[architecture];
  if (abis === undefined) return undefined;
  const program: Instruction[] = [
    load(OFFSET_ARCH),
    ...abis.flatMap((abi) => when(JUMP_EQUAL, abi.audit, rulesFor(abi))),
    answer(FAIL | ENOSYS),
  ];
  const bytes = Buffer.alloc(8 * program.length);
  program.forEach((instruction, index) => {
    bytes.writeUInt16LE(instruction.code, 8 * index);
    bytes.writeUInt8(instruction.jumpTrue ?? 0, 8 * index + 2);
    bytes.writeUInt8(instruction.jumpFalse ?? 0, 8 * index + 3);
    bytes.writeUInt32LE(instruction.value >>> 0, 8 * index + 4);
  });
  return bytes;
}
