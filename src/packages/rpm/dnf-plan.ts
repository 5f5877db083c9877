/**
 * Resolves a request by dnf's own documented Python interface, as `dnf install`, `upgrade` and `remove` do: its command line has a
 * plan only as a table for people. It runs in the container, by the interpreter that the container's dnf runs by.
 * What it prints on stdout after the word is one JSON document.
 */
export const PLAN_WORD = 'templatefs-plan:';

export const DNF_PLAN = String.raw`
import json, os, sys
import dnf, dnf.exceptions, dnf.transaction

INPUT = '/run/templatefs'
ROOT = os.environ.get('TEMPLATEFS_ROOT', '')

def make_base(needs_repositories, keeps_requirements):
    base = dnf.Base()
    conf = base.conf
    if ROOT:
        conf.installroot = ROOT
        conf.read(INPUT + '/dnf.conf')
    else:
        conf.read()
    if ROOT or not conf.substitutions.get('releasever'):
        conf.releasever = os.environ['TEMPLATEFS_RELEASE']
    conf.reposdir = [INPUT + '/repos.d']
    conf.cachedir = ROOT + '/run/templatefs-work/cache'
    if keeps_requirements:
        conf.clean_requirements_on_remove = False
    if needs_repositories:
        base.read_all_repos()
    base.fill_sack(load_system_repo=True, load_available_repos=needs_repositories)
    return base

def forced(base, spec, commands):
    """As install, also of what is installed or newer."""
    for word, mark in (('reinstall', base.reinstall), ('downgrade', base.downgrade_to)):
        try:
            mark(spec)
            commands.append(word + ' ' + spec)
            return
        except dnf.exceptions.Error:
            pass
    base.install_specs(install=[spec])
    commands.append('install ' + spec)

def mark(base, request, commands):
    if request['kind'] == 'install':
        groups = ['@' + group for group in request['groups']]
        if groups:
            base.read_comps()
        if request.get('force'):
            for spec in request['packages'] + groups:
                forced(base, spec, commands)
        else:
            base.install_specs(install=request['packages'] + groups)
        files = [INPUT + '/files/' + name for name in request['files']]
        for package in base.add_remote_rpms(files) if files else []:
            base.package_install(package)
            if request.get('force'):
                base.package_reinstall(package) or base.package_downgrade(package)
        commands.extend('install ' + path for path in files)
    elif request['kind'] == 'update':
        if request['packages']:
            for spec in request['packages']:
                base.upgrade(spec)
        else:
            base.upgrade_all()
    else:
        for spec in request['packages']:
            base.remove(spec)

def resolve(keeps_requirements):
    commands = []
    base = make_base(request['kind'] != 'remove', keeps_requirements)
    mark(base, request, commands)
    base.resolve(allow_erasing=request['kind'] == 'remove')
    changes = []
    for item in base.transaction or []:
        package = item.pkg
        changes.append({'action': int(item.action), 'name': package.name, 'evr': package.evr, 'architecture': package.arch})
    return changes, commands

request = json.load(open(INPUT + '/request.json'))
try:
    changes, commands = resolve(False)
    answer = {'changes': changes, 'commands': commands}
    if request['kind'] == 'remove':
        answer['alone'] = resolve(True)[0]
except dnf.exceptions.MarkingErrors as error:
    answer = {'error': str(error), 'missing': list(error.no_match_pkg_specs) + list(error.no_match_group_specs)}
except (dnf.exceptions.PackageNotFoundError, dnf.exceptions.PackagesNotInstalledError) as error:
    answer = {'error': str(error), 'missing': [getattr(error, 'pkg_spec', '')]}
except dnf.exceptions.MarkingError as error:
    answer = {'error': str(error), 'missing': [error.pkg_spec]}
except dnf.exceptions.Error as error:
    answer = {'error': str(error)}
sys.stdout.write('\n${PLAN_WORD}' + json.dumps(answer) + '\n')
`;
