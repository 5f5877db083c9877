#!/usr/bin/env python3
"""A small distribution of .deb packages in which the real dpkg and apt run: mini_debian.py FOLDER

The root's content is this machine's own: apt, dpkg and what their scripts call, with the libraries that they are linked with. It is
small and needs no mirror. In FOLDER afterwards:

    root/           to be imported as template mini-1-x86_64
    definitions/    for TEMPLATEFS_TEMPLATES; app templates `tool`, `plain`, `toold`
    old/, new/      signed repositories; MINI_REPOSITORY=file://FOLDER/old names one of them

`toold` is a service: its scripts restart it as invoke-rc.d does, unless policy-rc.d forbids that. `tool` needs `tool-data`, has a
configuration file, makes a secret, and lists in /var/log/tool.log what its scripts did; `plain` makes no secret, so that what it does
can be replayed. The new ones differ in every file, and have others.
"""
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

TEMPLATE = 'mini-1-x86_64'
PACKAGES = ('dpkg', 'apt', 'libapt-pkg6.0')
TOOLS = ('sh', 'bash', 'ls', 'cat', 'cp', 'mv', 'rm', 'mkdir', 'rmdir', 'ln', 'chmod', 'chown', 'touch', 'echo', 'true', 'false', 'test', 'env', 'id', 'sleep', 'stat',
         'head', 'tail', 'tr', 'sed', 'grep', 'find', 'sha256sum', 'mktemp', 'dirname', 'basename', 'readlink', 'date', 'dd', 'wc', 'sort', 'cmp', 'diff', 'tar', 'gzip',
         'xargs', 'cut', 'seq', 'sync', 'ldconfig', 'start-stop-daemon', 'hostname', 'setsid', 'mount', 'umount', 'mknod', 'kill', 'ps', 'perl')
LEFT_OUT = ('/usr/share/', '/etc/cron', '/etc/logrotate', '/lib/systemd/', '/usr/lib/systemd/', '/var/', '/etc/kernel')
FILES = 60


def run(*arguments, **more):
    return subprocess.run(arguments, check=True, stdout=subprocess.PIPE, **more).stdout.decode()


def merged(path):
    """/bin and the like are links to what is below /usr."""
    first = path.split('/')[1]
    return f'/usr{path}' if first in ('bin', 'sbin', 'lib', 'lib64') else path


def put(root, path):
    target = root + merged(path)
    if os.path.lexists(target):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    # Names of libraries are links to versions that differ by machine: the name that the linker asks for is what counts.
    if os.path.islink(path) and '.so' not in path:
        os.symlink(os.readlink(path), target)
        if os.path.exists(path):
            put(root, os.path.realpath(path))
    else:
        shutil.copy2(path, target)


def libraries(files):
    said = subprocess.run(['sh', '-c', 'for file do ldd "$file" 2>/dev/null; done; :', 'sh', *files], check=True, stdout=subprocess.PIPE).stdout.decode()
    return {word for line in said.splitlines() for word in line.split() if word.startswith('/') and os.path.isfile(word)}


def build_root(root):
    for name in ('usr/bin', 'usr/sbin', 'usr/lib', 'usr/lib64', 'usr/share', 'etc/apt/apt.conf.d', 'etc/apt/preferences.d', 'dev', 'proc', 'sys', 'run', 'root', 'opt', 'srv', 'home',
                 'var/log/apt', 'var/tmp', 'var/cache/apt/archives/partial', 'var/lib/apt/lists/partial', 'var/lib/dpkg/info', 'var/lib/dpkg/updates', 'var/lib/dpkg/triggers',
                 'var/lib/dpkg/alternatives', 'usr/share/dpkg'):
        os.makedirs(f'{root}/{name}')
    os.makedirs(f'{root}/tmp', mode=0o1777)
    for name in ('bin', 'sbin', 'lib', 'lib64'):
        os.symlink(f'usr/{name}', f'{root}/{name}')
    listed = [path for path in run('dpkg', '-L', *PACKAGES).splitlines() if path.startswith('/') and not path.startswith(LEFT_OUT) and os.path.isfile(path)]
    tools = [path for path in (shutil.which(name, path='/usr/sbin:/usr/bin:/sbin:/bin') for name in TOOLS) if path]
    files = [*listed, *tools, '/usr/share/dpkg/cputable', '/usr/share/dpkg/ostable', '/usr/share/dpkg/tupletable', '/usr/share/dpkg/abitable']
    for path in [*files, *libraries(files)]:
        put(root, path)
    for path, text in {
        'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n_apt:x:42:65534::/nonexistent:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n',
        'etc/group': 'root:x:0:\nnogroup:x:65534:\n',
        'etc/nsswitch.conf': 'passwd: files\ngroup: files\n',
        'etc/os-release': 'ID=mini\nVERSION_ID=1\nPRETTY_NAME="Mini 1"\n',
        'etc/machine-id': '',
        'var/lib/dpkg/available': '',
        'var/lib/dpkg/diversions': '',
        'var/lib/dpkg/triggers/File': '',
        'var/lib/dpkg/triggers/Unincorp': '',
        'var/lib/dpkg/status': f'Package: mini-base\nStatus: install ok installed\nMaintainer: nobody <nobody@example.org>\nArchitecture: {run("dpkg", "--print-architecture").strip()}\nVersion: 1\nDescription: the root\n\n',
        'var/lib/dpkg/info/mini-base.md5sums': '',
        'var/lib/dpkg/info/mini-base.list': '/.\n/usr\n/usr/bin\n/usr/bin/dpkg\n',
    }.items():
        with open(f'{root}/{path}', 'w', encoding='utf8') as f:
            f.write(text)


def build_deb(folder, name, version, needs='', files=None, configuration=(), scripts=None):
    stage = f'{folder}/stage'
    os.makedirs(f'{stage}/DEBIAN', mode=0o755)
    for path, (content, mode) in (files or {}).items():
        os.makedirs(os.path.dirname(stage + path), exist_ok=True)
        with open(stage + path, 'w', encoding='utf8') as f:
            f.write(content)
        os.chmod(stage + path, mode)
    with open(f'{stage}/DEBIAN/control', 'w', encoding='utf8') as f:
        f.write(f'Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n{f"Depends: {needs}" + chr(10) if needs else ""}Description: sample {name}\n')
    if configuration:
        with open(f'{stage}/DEBIAN/conffiles', 'w', encoding='utf8') as f:
            f.writelines(f'{path}\n' for path in configuration)
    for when, lines in (scripts or {}).items():
        with open(f'{stage}/DEBIAN/{when}', 'w', encoding='utf8') as f:
            f.write(f'#!/bin/sh\nset -e\n{lines}\n')
        os.chmod(f'{stage}/DEBIAN/{when}', 0o755)
    file = f'{folder}/{name}_{version}_all.deb'
    run('dpkg-deb', '--root-owner-group', '-Zgzip', '-z1', '--build', stage, file)
    shutil.rmtree(stage)
    return file


SERVICE = '''#!/bin/sh
case $1 in
  start) echo VERSION > /run/toold.version; setsid /usr/sbin/toold </dev/null >/dev/null 2>&1 & ;;
  stop) [ ! -e /run/toold.pid ] || kill "$(cat /run/toold.pid)" 2>/dev/null || :; rm -f /run/toold.pid /run/toold.version ;;
  restart) $0 stop; $0 start ;;
esac
'''
# One that is asked to wait is there to be killed.
RESTART = '''if [ ! -x /usr/sbin/policy-rc.d ] || /usr/sbin/policy-rc.d toold restart; then /etc/init.d/toold restart; fi
[ ! -e /etc/toold.wait ] || { echo waiting; : > /etc/toold.waits; sleep 60; }'''


def build_service(folder, version):
    files = {
        '/usr/sbin/toold': (f'#!/bin/sh\n# {version}\necho $$ > /run/toold.pid\nwhile :; do sleep 1; done\n', 0o755),
        '/etc/init.d/toold': (SERVICE.replace('VERSION', version), 0o755),
    }
    return build_deb(folder, 'toold', version, files=files, scripts={'postinst': RESTART, 'prerm': '[ ! -x /etc/init.d/toold ] || /etc/init.d/toold stop'})


def data_files(name, version, count):
    files = {f'/usr/share/{name}/{i}': (f'{version} {i} ' * (20 + 40 * i), 0o644) for i in range(count)}
    files.update({f'/usr/share/{name}/only-{version}-{i}': (f'{version} only {i} ' * 300, 0o644) for i in range(5)})
    return files


def build_plain(folder, version):
    files = {'/usr/bin/plain': (f'#!/bin/sh\necho plain {version}\n', 0o755), '/etc/plain.conf': (f'version {version}\n', 0o644), **data_files('plain', version, FILES // 2)}
    scripts = {'postinst': f'echo configured {version} >> /var/log/plain.log', 'prerm': '[ "$1" != remove ] || rm -f /var/log/plain.log'}
    return build_deb(folder, 'plain', version, configuration=['/etc/plain.conf'], files=files, scripts=scripts)


def build_tool(folder, version):
    data = data_files('tool', version, FILES)
    return [
        build_deb(folder, 'tool-data', version, files=data),
        build_deb(folder, 'tool', version, needs='tool-data', configuration=['/etc/tool.conf'],
                  files={'/usr/bin/tool': (f'#!/bin/sh\necho tool {version}\n', 0o755), '/etc/tool.conf': (f'version {version}\n', 0o644)},
                  scripts={
                      'postinst': f'echo configured {version} >> /var/log/tool.log\n[ -e /etc/tool.key ] || (umask 077; head -c 32 /dev/urandom > /etc/tool.key)',
                      'prerm': '[ "$1" != remove ] || rm -f /etc/tool.key /var/log/tool.log',
                  }),
    ]


def digest(path):
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()


def publish(folder, files, gpg):
    architecture = run('dpkg', '--print-architecture').strip()
    suite = f'{folder}/dists/stable'
    lists = f'main/binary-{architecture}'
    os.makedirs(f'{suite}/{lists}')
    os.makedirs(f'{folder}/pool')
    stanzas = []
    for source in files:
        place = f'pool/{os.path.basename(source)}'
        shutil.copy(source, f'{folder}/{place}')
        stanzas.append(f'{run("dpkg-deb", "--field", source).strip()}\nFilename: {place}\nSize: {os.path.getsize(source)}\nSHA256: {digest(source)}\n')
    text = '\n'.join(stanzas).encode()
    for name, content in {'Packages': text, 'Packages.gz': gzip.compress(text)}.items():
        with open(f'{suite}/{lists}/{name}', 'wb') as f:
            f.write(content)
    sums = ''.join(f' {digest(f"{suite}/{lists}/{name}")} {os.path.getsize(f"{suite}/{lists}/{name}")} {lists}/{name}\n' for name in ('Packages', 'Packages.gz'))
    with open(f'{suite}/Release', 'w', encoding='utf8') as f:
        f.write(f'Origin: test\nLabel: test\nSuite: stable\nCodename: stable\nDate: {run("date", "-uR").strip()[:-5]}UTC\nArchitectures: all {architecture}\nComponents: main\nDescription: packages of a test\nSHA256:\n{sums}')
    run(*gpg, '--armor', '--digest-algo', 'SHA256', '--output', f'{suite}/InRelease', '--clear-sign', f'{suite}/Release')


def build(folder):
    os.makedirs(f'{folder}/debs')
    build_root(f'{folder}/root')
    # gpg's agent has its socket in there, whose path must be short.
    home = tempfile.mkdtemp(prefix='gpg-', dir='/tmp')
    gpg = ('gpg', '--homedir', home, '--batch', '--yes', '--quiet')
    try:
        run(*gpg, '--passphrase', '', '--quick-generate-key', 'mini <mini@example.org>', 'ed25519', 'sign', 'never')
        run(*gpg, '--output', f'{folder}/mini.gpg', '--export')
        for name, version in (('old', '1.0'), ('new', '2.0')):
            publish(f'{folder}/{name}', [*build_tool(f'{folder}/debs', version), build_plain(f'{folder}/debs', version), build_service(f'{folder}/debs', version)], gpg)
    finally:
        run('gpgconf', '--homedir', home, '--kill', 'all')
        shutil.rmtree(home, ignore_errors=True)
    for path, text in {
        'os/default/package_manager': 'apt\n', 'os/default/distribution': 'debian\n', 'os/default/packages': 'mini-base\n',
        'os/default/repositories': '$MINI_REPOSITORY stable main\n', 'os/default/keys': f'{folder}/mini.gpg\n', 'app/tool/default/packages': 'tool\n', 'app/plain/default/packages': 'plain\n', 'app/toold/default/packages': 'toold\n',
    }.items():
        place = f'{folder}/definitions/{TEMPLATE}/{path}'
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, 'w', encoding='utf8') as f:
            f.write(text)


if __name__ == '__main__':
    build(os.path.abspath(sys.argv[1]))
