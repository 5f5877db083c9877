import { access, constants } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { TemplatefsError } from '../core/errors.js';

const FALLBACK_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface WantedExecutable {
  readonly name: string;
  /** The Debian package that has it, for the hint. */
  readonly debianPackage: string;
  /** What it is needed for: ends the sentence "… is needed to". */
  readonly purpose: string;
  /** A colon-separated list of folders; default: PATH of this process. */
  readonly path?: string;
}

/**
 * Finds a program of the host that this project uses as it is, and returns its absolute path.
 *
 * @throws FAILED when it is not installed; the hint names the package
 */
export async function findExecutable(wanted: WantedExecutable): Promise<string> {
  // cron and systemd units often have a PATH without sbin.
  const path = wanted.path ?? `${process.env['PATH'] ?? ''}:${FALLBACK_PATH}`;
  for (const folder of path.split(':')) {
    if (!isAbsolute(folder)) continue;
    const candidate = join(folder, wanted.name);
    try {
      await access(candidate, constants.X_OK);
      return candidate;
    } catch {
      // Not here; look in the next folder.
    }
  }
  throw new TemplatefsError('FAILED', `${wanted.name} is not installed; it is needed to ${wanted.purpose}`, {
    hint: `apt-get install ${wanted.debianPackage} (or npm run setup in a checkout)`,
  });
}
