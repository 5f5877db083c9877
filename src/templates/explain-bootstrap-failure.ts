import { TemplatefsError } from '../core/errors.js';
import type { TemplateDefinition } from './definition.js';

const UNREACHABLE = /could not resolve|temporary failure resolving|name or service not known|could not connect|unable to connect|connection (refused|failed|timed out|reset)|cannot initiate the connection|network is unreachable|no route to host|does not have a release file|40[34]\s+(not found|forbidden)|50[0234] /i;
const UNSIGNED = /NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|is not signed|GPG error|signatures? (couldn't|could not|were) |hash sum mismatch|Release file .* expired/i;
const NO_SPACE = /no space left on device|disk quota exceeded/i;

/**
 * Turns what mmdebstrap said before it failed into an error that names the cause.
 *
 * @param log its last lines on stderr
 */
export function explainBootstrapFailure(definition: TemplateDefinition, log: readonly string[], ending: string): TemplatefsError {
  const text = log.join('\n');
  const lines = log.map((line) => line.trim().replace(/^[EW]: /, ''));
  /** The lines that tell a cause, or else the last errors. */
  const say = (cause?: RegExp): string => {
    const telling = cause === undefined ? [] : lines.filter((line) => cause.test(line));
    const errors = log.filter((line) => /^\s*E: /.test(line)).map((line) => line.trim().slice(3));
    const chosen = [...new Set(telling.length > 0 ? telling.slice(0, 2) : errors.slice(-3))];
    return chosen.length === 0 ? ending : chosen.join('; ');
  };
  if (NO_SPACE.test(text)) {
    return new TemplatefsError('NO_SPACE', `no space left while bootstrapping ${definition.name}: ${say(NO_SPACE)}`, { hint: 'the root is made in TMPDIR before it is imported; point TMPDIR to a file system with 1 GB free' });
  }
  // A bad signature is told before a mirror that cannot be reached: it must never look like a passing fault.
  if (UNSIGNED.test(text)) {
    return new TemplatefsError('INTEGRITY', `a repository of ${definition.name} is not signed by its keys: ${say(UNSIGNED)}`, { hint: `check the files repositories and keys in ${definition.folder}` });
  }
  if (UNREACHABLE.test(text)) {
    const uris = [...new Set(definition.repositories.map((repository) => repository.uri))].join(', ');
    return new TemplatefsError('NO_MIRROR', `cannot reach the mirrors of ${definition.name} (${uris}): ${say(UNREACHABLE)}`, {
      hint: `name one that can be reached (DEB_MIRROR=… in the environment or /etc/templatefs/url.map), or import an archive instead: templatefs template import ${definition.name} TAR`,
    });
  }
  return new TemplatefsError('PACKAGE_MANAGER_FAILED', `bootstrapping ${definition.name} failed: ${say()}`, { hint: 'run again without --quiet to see the whole output of mmdebstrap' });
}
