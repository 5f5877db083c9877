import { TemplatefsError } from '../../core/errors.js';
import { INPUT_FOLDER, SERVICES_VARIABLE, type ContainerAnswer, type PackageAction, type PackageChange, type PackageRequest } from '../package-manager.js';
import { DNF_PLAN, PLAN_WORD } from './dnf-plan.js';
import { rpmDriver } from './rpm-driver.js';
import { isMeant, PACKAGE_NAME, WORK_FOLDER, type RpmProposal, type RpmStep, type RpmTool } from './rpm-tool.js';

/*
 * dnf 4 of the container, as it is (Fedora up to 40, RHEL and its kin 8 to 10). Its own repositories, their cache and its settings
 * of them are neither used nor changed; the rest of its dnf.conf counts.
 */

const PREPARE = `set -e
umask 022
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
[ "$${SERVICES_VARIABLE}" != none ] || export SYSTEMD_OFFLINE=1
mkdir -p ${WORK_FOLDER}
`;

/** The interpreter is that of dnf's own first line: RHEL 8 has one that nothing else uses. */
const PLAN = `${PREPARE}
dnf=$(command -v dnf) || { echo 'there is no dnf' >&2; exit 127; }
IFS= read -r first < "$dnf"
python=\${first#'#!'}
case $python in
  *python*) exec \${python} ${INPUT_FOLDER}/plan.py ;;
  *) echo 'not dnf 4: it is not written in Python' >&2; exit 127 ;;
esac
`;

const APPLY = `${PREPARE}
if [ -n "$TEMPLATEFS_ROOT" ]; then set -- --config=${INPUT_FOLDER}/dnf.conf --installroot="$TEMPLATEFS_ROOT" --releasever="$TEMPLATEFS_RELEASE" "$@"; fi
exec dnf --assumeyes --color=never --setopt=reposdir=${INPUT_FOLDER}/repos.d --setopt=cachedir=${WORK_FOLDER}/cache \\
  --setopt=keepcache=0 --setopt=localpkg_gpgcheck=0 "$@"
`;

/** Of the host's dnf when it bootstraps: none of the host's own settings. */
const BOOTSTRAP_CONFIGURATION = '[main]\ngpgcheck=1\nbest=True\nskip_if_unavailable=False\n';

/** libdnf's TransactionItemAction: what comes, and what goes because something else comes. */
const COMES: Readonly<Record<number, PackageAction>> = { 1: 'install', 2: 'downgrade', 4: 'install', 6: 'upgrade', 9: 'reinstall' };
const GOES = new Set([3, 5, 7, 8, 10]);
const REMOVED = new Set([5, 8]);

interface PlannedItem {
  readonly action: number;
  readonly name: string;
  readonly evr: string;
  readonly architecture: string;
}

interface PlanAnswer {
  readonly changes?: readonly PlannedItem[];
  readonly alone?: readonly PlannedItem[];
  readonly commands?: readonly string[];
  readonly error?: string;
  readonly missing?: readonly string[];
}

/** What comes out of a container is anything. @throws INTEGRITY */
function checkItems(value: unknown): PlannedItem[] {
  const isItem = (item: unknown): item is PlannedItem => {
    if (typeof item !== 'object' || item === null) return false;
    const { action, name, evr, architecture } = item as Record<string, unknown>;
    const isWord = (word: unknown): boolean => typeof word === 'string' && PACKAGE_NAME.test(word);
    return typeof action === 'number' && isWord(name) && isWord(evr) && isWord(architecture);
  };
  if (Array.isArray(value) && value.every(isItem)) return value;
  throw new TemplatefsError('INTEGRITY', "the container's dnf gave a plan that cannot be read", { hint: 'its dnf may have been tampered with' });
}

function changesOf(items: readonly PlannedItem[]): PackageChange[] {
  const before = new Map(items.filter(({ action }) => GOES.has(action)).map((item) => [`${item.name}.${item.architecture}`, item.evr]));
  return items.flatMap((item): PackageChange[] => {
    const { name, architecture, evr, action } = item;
    const comes = COMES[action];
    const from = before.get(`${name}.${architecture}`) ?? null;
    if (comes !== undefined) return [{ name, architecture, action: comes, from: comes === 'reinstall' ? evr : from, to: evr }];
    return REMOVED.has(action) ? [{ name, architecture, action: 'remove', from: evr, to: null }] : [];
  });
}

function failure(what: string, answer: ContainerAnswer): TemplatefsError {
  const lines = `${answer.output}\n${answer.errors}`.split('\n').map((line) => line.trim());
  const telling = lines.filter((line) => /^(Error: |Problem( \d+)?: |- |error: |.*(conflicts with file|scriptlet failed|needed on the|No space left))/.test(line));
  const text = [...new Set(telling.length > 0 ? telling : lines.filter((line) => line !== '').slice(-2))].slice(0, 4).join('; ');
  if (/No space left on device|Disk quota exceeded|needed on the .* filesystem/.test(text)) {
    return new TemplatefsError('NO_SPACE', `no space left while dnf worked: ${text}`, { hint: 'free some space on the file system of the store, or raise the container’s quota (templatefs quota CT)' });
  }
  return new TemplatefsError('PACKAGE_MANAGER_FAILED', `${what} failed (${answer.status > 128 ? `signal ${answer.status - 128}` : `exit status ${answer.status}`})${text === '' ? '' : `: ${text}`}`, {
    hint: 'its whole output is shown without --quiet; the container is as it was before',
  });
}

function localPath(file: string): string {
  return `${INPUT_FOLDER}/files/${file.slice(file.lastIndexOf('/') + 1)}`;
}

const dnf: RpmTool = {
  name: 'dnf',
  folderScheme: 'file',
  repositoryOptions: ['gpgcheck=0', 'repo_gpgcheck=0', 'skip_if_unavailable=0', 'metadata_expire=never'],
  isName: (name) => PACKAGE_NAME.test(name.replace(/^@/, '')),

  plan(request: PackageRequest): RpmStep {
    const files = request.kind === 'install' ? request.files.map((file) => file.slice(file.lastIndexOf('/') + 1)) : [];
    return { script: PLAN, files: { 'plan.py': DNF_PLAN, 'request.json': JSON.stringify({ ...request, files }), 'dnf.conf': BOOTSTRAP_CONFIGURATION } };
  },

  readPlan(request, answer): RpmProposal {
    const line = answer.output.split('\n').findLast((text) => text.startsWith(PLAN_WORD));
    if (answer.status !== 0 || line === undefined) throw failure('resolving', answer);
    let read: PlanAnswer;
    try {
      read = JSON.parse(line.slice(PLAN_WORD.length)) as PlanAnswer;
    } catch {
      return { changes: changesOf(checkItems(undefined)), dependants: [] };
    }
    if (read.error !== undefined) {
      const missing = (Array.isArray(read.missing) ? read.missing : []).filter((word) => typeof word === 'string' && word !== '');
      const text = read.error.replace(/\s+/g, ' ').trim();
      if (missing.length > 0) {
        throw new TemplatefsError('PACKAGE_NOT_FOUND', `${request.kind === 'install' ? 'no package' : 'not installed'}: ${missing.join(', ')}`, { hint: 'check the name and the definition’s repositories; what the mirrors have is fetched anew with --refresh' });
      }
      throw new TemplatefsError('PACKAGE_MANAGER_FAILED', `dnf found no solution: ${text}`, { hint: 'the container is as it was before' });
    }
    const changes = changesOf(checkItems(read.changes));
    if (request.kind !== 'remove') return { changes, dependants: [] };
    const alone = changesOf(checkItems(read.alone)).filter((change) => !isMeant(request.packages, change));
    return { changes, dependants: alone.map(({ name }) => name) };
  },

  apply(request: PackageRequest, changes: readonly PackageChange[]): RpmStep {
    const files = { 'dnf.conf': BOOTSTRAP_CONFIGURATION };
    switch (request.kind) {
      case 'install': {
        const words = [...request.packages, ...request.groups.map((group) => `@${group}`), ...request.files.map(localPath)];
        // What is installed in this version must be reinstalled by name: in one transaction only dnf's shell does both.
        if (request.force !== true) return { script: APPLY, arguments: ['install', ...words], files };
        const wordOf = (action: PackageAction): string[] => changes.filter((change) => change.action === action).map(({ name, to, architecture }) => `${name}-${to ?? ''}.${architecture}`);
        const lines = [
          ...(['reinstall', 'downgrade'] as const).flatMap((action) => wordOf(action).map((word) => `${action} ${word}`)),
          ...(words.length > 0 ? [`install ${words.join(' ')}`] : []),
          'run',
        ];
        return { script: APPLY, arguments: ['shell', `${INPUT_FOLDER}/commands`], files: { ...files, commands: `${lines.join('\n')}\n` } };
      }
      case 'update':
        return { script: APPLY, arguments: ['upgrade', ...request.packages], files };
      case 'remove':
        return { script: APPLY, arguments: ['remove', ...request.packages], files };
    }
  },

  step: /^\s*(Installing|Upgrading|Downgrading|Reinstalling|Cleanup|Erasing|Removing)\s*: /,
  failure,
};

export const dnfDriver = rpmDriver(dnf);
