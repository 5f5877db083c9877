import { TemplatefsError } from '../core/errors.js';
import { findExecutable } from '../sandbox/find-executable.js';
import type { VersionRules } from './database/package-database.js';
import { runTool } from './run-tool.js';

/*
 * Versions are compared by the package managers' own programs on the host: what they call newer is newer. Both take versions as
 * arguments or in a script, so nothing but characters of versions may get there.
 */

const VERSION = /^[0-9A-Za-z][0-9A-Za-z.+:~^_-]{0,254}$/;
/** Versions of one run of rpm: its expression has a length. */
const AT_ONCE = 200;

function program(name: VersionRules): Promise<string> {
  return findExecutable({ name, debianPackage: name, purpose: 'compare versions of its packages' });
}

/** Whether a text can be a version at all, and be handed to a program. */
export function isVersion(text: string): boolean {
  return VERSION.test(text);
}

/**
 * Compares each of some versions with another one.
 * @returns below 0, 0 or above 0 by version: it is older, the same, or newer. What is no version is left out
 * @throws FAILED when the package manager is not installed, INTERRUPTED
 */
export async function compareVersions(rules: VersionRules, versions: Iterable<string>, other: string, signal?: AbortSignal): Promise<Map<string, number>> {
  const wanted = [...new Set(versions)].filter(isVersion);
  if (!isVersion(other) || wanted.length === 0) return new Map();
  return rules === 'dpkg' ? byDpkg(wanted, other, signal) : byRpm(wanted, other, signal);
}

async function byDpkg(versions: readonly string[], other: string, signal: AbortSignal | undefined): Promise<Map<string, number>> {
  const file = await program('dpkg');
  const found = new Map<string, number>();
  const holds = async (version: string, relation: string): Promise<boolean> => {
    const { status, stderr } = await runTool({ file, args: ['--compare-versions', version, relation, other], ...(signal !== undefined && { signal }) });
    if (status > 1) throw new TemplatefsError('FAILED', `dpkg cannot compare the versions ${version} and ${other}: ${stderr.trim()}`, { hint: 'see that both are versions of Debian packages' });
    return status === 0;
  };
  for (const version of versions) found.set(version, (await holds(version, 'lt')) ? -1 : (await holds(version, 'eq')) ? 0 : 1);
  return found;
}

/** Without a release rpm compares what comes before it, as `Requires: foo < 1.2` does. */
function asOther(version: string, other: string): string {
  return other.includes('-') ? version : version.replace(/-[^-]*$/, '');
}

async function byRpm(versions: readonly string[], other: string, signal: AbortSignal | undefined): Promise<Map<string, number>> {
  const file = await program('rpm');
  const found = new Map<string, number>();
  for (let at = 0; at < versions.length; at += AT_ONCE) {
    const some = versions.slice(at, at + AT_ONCE);
    const script = some.map((version) => `print(rpm.vercmp("${asOther(version, other)}","${other}").." ")`).join(' ');
    const { status, stdout, stderr } = await runTool({ file, args: ['--eval', `%{lua:${script}}`], ...(signal !== undefined && { signal }) });
    const answers = stdout.trim().split(/\s+/).map(Number);
    if (status !== 0 || answers.length !== some.length || answers.some((answer) => !Number.isInteger(answer))) {
      throw new TemplatefsError('FAILED', `rpm cannot compare versions: ${stderr.trim()}`, { hint: 'rpm 4.16 or newer is needed on this host' });
    }
    for (const [index, version] of some.entries()) found.set(version, answers[index] ?? 0);
  }
  return found;
}
