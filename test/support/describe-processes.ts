import { readFileSync, readdirSync, readlinkSync } from 'node:fs';

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** What a descriptor is, as /proc says it. */
function descriptors(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return [`${fd}=${readlinkSync(`/proc/${pid}/fd/${fd}`)}`];
      } catch {
        return [];
      }
    });
  } catch {
    return [];
  }
}

function describe(pid: number): string {
  const [, state = '?'] = /\) (\S)/.exec(read(`/proc/${pid}/stat`)) ?? [];
  const command = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim().slice(0, 300);
  const files = descriptors(pid).filter((text) => !/=(?:\/dev\/null|anon_inode:.*)$/.test(text));
  return `${pid} ${state} in ${read(`/proc/${pid}/wchan`) || '?'}: ${command}\n    ${files.join(' ')}`;
}

/** A process and all that it has started, what each waits for, and which files it has: of a program that hangs. */
export function describeProcesses(pid: number): string {
  const children = read(`/proc/${pid}/task/${pid}/children`).trim().split(' ').filter((text) => text !== '').map(Number);
  return [describe(pid), ...children.map(describeProcesses)].join('\n  ');
}
