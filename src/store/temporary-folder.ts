import { lstatSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processStart } from '../catalog/process-identity.js';

/** Purpose, pid namespace, pid, start of the process, and what mkdtemp(3) adds. */
const NAME = /^templatefs-[a-z]+-([0-9]+)-([0-9]+)-([0-9]+)-[A-Za-z0-9]{6}$/;

const swept = new Set<string>();

/**
 * Makes a folder outside of the store that nobody else can read, which its caller removes. What killed commands have left there is removed first.
 *
 * @param purpose lower-case letters; part of its name
 * @param parent a folder that may be everybody's; TMPDIR if left out
 * @throws the error of mkdtemp(3)
 */
export function makeTemporaryFolder(purpose: string, parent = tmpdir()): string {
  if (!swept.has(parent)) {
    swept.add(parent);
    removeStale(parent);
  }
  return mkdtempSync(join(parent, `templatefs-${purpose}-${pidNamespace()}-${process.pid}-${processStart(process.pid) ?? '0'}-`));
}

/** Pids of another pid namespace say nothing here. */
function pidNamespace(): string {
  return /[0-9]+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '0';
}

function removeStale(parent: string): void {
  const namespace = pidNamespace();
  for (const name of readableNamesIn(parent)) {
    const [match, inNamespace, pid, start] = NAME.exec(name) ?? [];
    if (match === undefined || inNamespace !== namespace || processStart(Number(pid)) === start) continue;
    const path = join(parent, name);
    try {
      const stat = lstatSync(path);
      // One of our own, in which nobody else can exchange what is removed.
      if (stat.isDirectory() && stat.uid === process.geteuid?.()) rmSync(path, { recursive: true, force: true });
    } catch {
      // Another command removes it, or the next one.
    }
  }
}

/** None where they cannot be read: whoever makes a folder there says what is wrong. */
function readableNamesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
