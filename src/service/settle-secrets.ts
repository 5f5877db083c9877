import { TemplatefsError } from '../core/errors.js';
import { scanPrivateArea, type ScanRecord } from '../engine/scan.js';
import { isForEverybody, isSecretPath, secretRule, SETTLE_SECRETS } from '../packages/secrets.js';
import type { SecretRule } from '../templates/secret-rules.js';
import type { ServiceContext } from './context.js';
import { withPackageSession } from './package-session.js';

/*
 * Before a template is made of a container: what its package scripts have made and not everybody may read is a secret until somebody has
 * said what it is. docs/installer.md, "Secrets".
 */

const SHOWN = 10;

/** Content of the container's own that may be a secret. */
function isSuspect({ kind, mode, sizeBytes, path }: ScanRecord, secretPaths: readonly string[]): boolean {
  const isFile = kind === 'file' || kind === 'partial' || kind === 'link';
  return (isFile && sizeBytes > 0 && !isForEverybody(mode)) || (kind !== 'whiteout' && kind !== 'merged' && isSecretPath(path, secretPaths));
}

/** @returns the commands that each container made of the template has to run */
export async function settleSecrets(context: ServiceContext, container: string, template: string): Promise<string[]> {
  return withPackageSession(context, container, async ({ definitions, programs }) => {
    const { driver, os, installed } = definitions;
    const rules: SecretRule[] = [...os.secrets, ...installed.flatMap(({ definition }) => definition?.secrets ?? [])];
    const records = await scanPrivateArea(context.paths, container, context.signal);
    const paths = records.filter((record) => isSuspect(record, driver.secretPaths)).map(({ path }) => Buffer.from(path, 'latin1').toString('utf8'));
    const ruled = paths.map((path) => ({ path, rule: secretRule(path, rules, driver.secretPaths) }));
    const unknown = ruled.filter(({ rule }) => rule === undefined).map(({ path }) => path);
    const secrets = unknown.length === 0 ? [] : await driver.unowned(programs, unknown);
    if (secrets.length > 0) {
      const some = secrets.slice(0, SHOWN).join(', ');
      throw new TemplatefsError('BAD_DEFINITION', `package scripts have made files that not everybody may read, and that all containers of ${template} would have in common: ${some}${secrets.length > SHOWN ? ` and ${secrets.length - SHOWN} more` : ''}`, {
        hint: `say in a file secrets of the definition what becomes of them (docs/templates.md): ${installed.at(-1)?.definition?.folder ?? os.folder}/secrets`,
      });
    }
    const done = ruled.flatMap(({ path, rule }) => (rule === undefined || rule.action === 'keep' ? [] : [rule.action, path]));
    const answer = await programs.run({ script: SETTLE_SECRETS, arguments: done });
    if (answer.status !== 0) throw new TemplatefsError('PACKAGE_MANAGER_FAILED', `secrets cannot be removed from ${container}: ${answer.errors}`, { hint: 'look at what the packages have put there' });
    return [...new Set(ruled.flatMap(({ rule }) => rule?.command ?? []))];
  });
}
