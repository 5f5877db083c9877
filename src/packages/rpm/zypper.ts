import { TemplatefsError } from '../../core/errors.js';
import { INPUT_FOLDER, SERVICES_VARIABLE, type ContainerAnswer, type PackageAction, type PackageChange, type PackageRequest } from '../package-manager.js';
import { readXml, type XmlElement } from '../xml.js';
import { rpmDriver } from './rpm-driver.js';
import { isMeant, PACKAGE_NAME, WORK_FOLDER, type RpmProposal, type RpmStep, type RpmTool } from './rpm-tool.js';

/*
 * zypper of the container, as it is. Its own repositories and their cache are neither used nor changed; the rest of its zypp.conf and
 * zypper.conf counts.
 */

const PREPARE = `set -e
umask 022
export LC_ALL=C.UTF-8
[ "$${SERVICES_VARIABLE}" != none ] || export SYSTEMD_OFFLINE=1
mkdir -p ${WORK_FOLDER}
run() {
  zypper --non-interactive --no-gpg-checks --reposd-dir ${INPUT_FOLDER}/repos.d --cache-dir ${WORK_FOLDER}/cache \\
    \${TEMPLATEFS_ROOT:+--root "$TEMPLATEFS_ROOT"} "$@"
}
`;

/** 100 to 103 only tell something: updates are there, a reboot is advised. 106: a repository was skipped, which must not be. */
const GUARD = `
status=0
"$@" || status=$?
case $status in 100 | 101 | 102 | 103) status=0 ;; esac
exit $status
`;

const PLAN = `${PREPARE}
set -- run --xmlout "$@"
${GUARD}`;

const SEPARATOR = '<!-- with what nobody needs any more -->';
const PLAN_REMOVE = `${PREPARE}
plan() {
  run --xmlout remove --dry-run "$@"
  echo '${SEPARATOR}'
  run --xmlout remove --dry-run --clean-deps "$@"
}
set -- plan "$@"
${GUARD}`;

const APPLY = `${PREPARE}
set -- run "$@"
${GUARD}`;

const COMES: Readonly<Record<string, PackageAction>> = {
  'to-install': 'install', 'to-upgrade': 'upgrade', 'to-downgrade': 'downgrade', 'to-reinstall': 'reinstall', 'to-change-vendor': 'upgrade', 'to-change-arch': 'install',
  'to-upgrade-change-arch': 'upgrade', 'to-downgrade-change-arch': 'downgrade', 'to-upgrade-change-vendor': 'upgrade', 'to-downgrade-change-vendor': 'downgrade',
};

function unreadable(): TemplatefsError {
  return new TemplatefsError('INTEGRITY', "the container's zypper gave a plan that cannot be read", { hint: 'its zypper may have been tampered with' });
}

function elementsOf(element: XmlElement, name: string): XmlElement[] {
  return element.children.flatMap((child) => [...(child.name === name ? [child] : []), ...elementsOf(child, name)]);
}

function changesOf(output: string): PackageChange[] {
  const start = output.indexOf('<?xml');
  const end = output.lastIndexOf('</stream>');
  if (start < 0 || end < 0) throw unreadable();
  const summary = elementsOf(readXml(output.slice(start, end + '</stream>'.length), 'the plan of the container’s zypper'), 'install-summary')[0];
  return (summary?.children ?? []).flatMap((group) => {
    const action = group.name === 'to-remove' ? 'remove' : COMES[group.name];
    if (action === undefined) return [];
    return group.children.filter(({ attributes }) => attributes['type'] === 'package').map(({ attributes }): PackageChange => {
      const { name = '', edition = '', arch = '' } = attributes;
      const old = attributes['edition-old'];
      if (![name, edition, arch, old ?? '0'].every((word) => PACKAGE_NAME.test(word))) throw unreadable();
      if (action === 'remove') return { name, architecture: arch, action, from: edition, to: null };
      return { name, architecture: arch, action, from: action === 'reinstall' ? edition : (old ?? null), to: edition };
    });
  });
}

function plainText(escaped: string): string {
  try {
    return readXml(`<text>${escaped}</text>`, 'a message').text.replace(/\s+/g, ' ').trim();
  } catch {
    return escaped.trim();
  }
}

/** What it says in its XML or, for people, on its last lines. */
function said(answer: ContainerAnswer): string[] {
  const messages = [...answer.output.matchAll(/<message type="(?:error|warning|info)"[^>]*>([^<]*)<\/message>|<description>([^<]*)<\/description>/g)].map(([, message, problem]) => plainText(message ?? problem ?? ''));
  const lines = `${answer.output}\n${answer.errors}`.split('\n').map((line) => line.trim());
  const telling = lines.filter((line) => /^(Problem: |error: |.*(nothing provides|conflicts with|not found|failed|No space left))/i.test(line) && !line.includes('<'));
  return [...new Set([...messages, ...telling])].filter((line) => line !== '');
}

function failure(what: string, answer: ContainerAnswer): TemplatefsError {
  const text = said(answer).slice(0, 4).join('; ');
  if (/No space left on device|Disk quota exceeded/.test(text)) {
    return new TemplatefsError('NO_SPACE', `no space left while zypper worked: ${text}`, { hint: 'free some space on the file system of the store, or raise the container’s quota (templatefs quota CT)' });
  }
  return new TemplatefsError('PACKAGE_MANAGER_FAILED', `${what} failed (${answer.status > 128 ? `signal ${answer.status - 128}` : `exit status ${answer.status}`})${text === '' ? '' : `: ${text}`}`, {
    hint: 'its whole output is shown without --quiet; the container is as it was before',
  });
}

/** zypper's exit status for a name that nothing has. */
const NOT_FOUND = 104;

function commandOf(request: PackageRequest): string[] {
  const groups = request.kind === 'install' ? request.groups.map((group) => `pattern:${group.replace(/^pattern:/, '')}`) : [];
  switch (request.kind) {
    case 'install':
      return ['install', '--auto-agree-with-licenses', '--allow-unsigned-rpm', ...(request.force === true ? ['--force'] : []), '--', ...request.packages, ...groups, ...request.files.map((file) => `${INPUT_FOLDER}/files/${file.slice(file.lastIndexOf('/') + 1)}`)];
    case 'update':
      return ['update', '--auto-agree-with-licenses', '--', ...request.packages];
    case 'remove':
      return ['remove', '--clean-deps', '--', ...request.packages];
  }
}

const zypper: RpmTool = {
  name: 'zypper',
  folderScheme: 'dir',
  repositoryOptions: ['gpgcheck=0', 'repo_gpgcheck=0', 'pkg_gpgcheck=0', 'autorefresh=1', 'keeppackages=0'],
  isName: (name) => PACKAGE_NAME.test(name.replace(/^pattern:/, '')),

  plan(request: PackageRequest): RpmStep {
    if (request.kind === 'remove') return { script: PLAN_REMOVE, arguments: ['--', ...request.packages] };
    const [command = '', ...rest] = commandOf(request);
    return { script: PLAN, arguments: [command, '--dry-run', ...rest] };
  },

  readPlan(request, answer): RpmProposal {
    if (answer.status === NOT_FOUND) {
      throw new TemplatefsError('PACKAGE_NOT_FOUND', said(answer).join('; ') || `not found: ${request.packages.join(', ')}`, { hint: 'check the name and the definition’s repositories; what the mirrors have is fetched anew with --refresh' });
    }
    if (answer.status !== 0) throw failure('resolving', answer);
    if (request.kind !== 'remove') return { changes: changesOf(answer.output), dependants: [] };
    const [alone = '', all = ''] = answer.output.split(SEPARATOR);
    const dependants = changesOf(alone).filter((change) => change.action === 'remove' && !isMeant(request.packages, change)).map(({ name }) => name);
    return { changes: changesOf(all), dependants };
  },

  apply: (request) => ({ script: APPLY, arguments: commandOf(request) }),
  step: /^\(\s*\d+\/\d+\) (Installing|Removing): /,
  failure,
};

export const zypperDriver = rpmDriver(zypper);
