#!/bin/bash
# Installs the Debian packages that this project needs and that are missing, and says what each is for.
#
#   scripts/install-debian-packages.sh [--list] [GROUP...]     groups: run build test runtimes bench programs fuzz;
#                                                          default: run build test
#
# Only what is missing is installed; with nothing missing it takes a moment and touches nothing.
set -euo pipefail

# group | package | what it is needed for
PACKAGES='
run   | mmdebstrap      | makes a Debian root from a template definition
run   | bubblewrap      | the sandbox in which commands of containers run
run   | util-linux      | unshare and setpriv around both
run   | debian-archive-keyring | the keys that sign Debian
run   | gpgv            | checks signatures of repositories
run   | gpg             | takes keyrings apart for rpm
run   | rpm             | rpmkeys: checks signatures of packages; not needed for templates of Debian
run   | xz-utils        | archives: .tar.xz
run   | zstd            | archives: .tar.zst
build | g++             | compiles the engine
build | make            | drives the build
build | python3         | node-gyp is written in it
test  | doctest-dev     | C++ unit tests
test  | busybox-static  | the smallest root that a sandbox can be tested in
test  | tar             | reference for what an archive means
test  | attr            | getfattr, setfattr: extended attributes in comparisons
test  | acl             | getfacl, setfacl: ACLs in comparisons
test  | libcap2-bin     | setcap, getcap, capsh: file capabilities in comparisons
test  | git             | program that is run on roots; so are the next
test  | rsync           | program that is run on roots
test  | cpio            | program that is run on roots
test  | stress-ng       | its stressors of files, with --verify
test  | gnupg           | signs repositories that tests make
test  | rpm             | rpmbuild, rpmsign, rpmkeys: packages that tests make
test  | createrepo-c    | metadata of repositories that tests make
test  | fio             | writes and reads that verify their data
test  | systemd         | systemd-analyze checks the mount unit of the documentation
test  | findutils       | counts of requests; so are the programs above
test  | strace          | makes single system calls of commands fail
test  | e2fsprogs       | mkfs.ext4 for a scratch file system
test  | xfsprogs        | mkfs.xfs: the same with reflink
test  | btrfs-progs     | mkfs.btrfs: the same with reflink and quotas
runtimes | lxc            | container runtimes that start on roots; so are the next
runtimes | runc           | OCI runtime
runtimes | crun           | OCI runtime
runtimes | podman         | podman run --rootfs
runtimes | systemd-container | systemd-nspawn
runtimes | skopeo         | copies images from registries
runtimes | umoci          | makes images to import
runtimes | containerd     | on the snapshotter; brings ctr and its shim
runtimes | docker-registry | a registry on loopback
programs | sqlite3      | reads the database of rpm
programs | postgresql   | server, pgbench and pg_amcheck: a database on a root
programs | rpm          | rpm and rpmbuild: a database of packages on a root
programs | dnf          | OS templates of RPMs, bootstrapped and installed into
programs | zypper       | the same with zypper
programs | dbench       | the load of a file server
programs | ccache       | the cache of a compiler on a root
bench | fuse-overlayfs  | peer in the benchmarks
bench | unionfs-fuse    | peer in the benchmarks
bench | libfuse2        | below the peer on the npm package fuse-native
bench | jdupes          | finds equal files, in the benchmarks of merging
bench | rmlint          | the same
bench | duperemove      | the same
bench | xfsprogs        | mkfs.xfs for the volume on which those merge
bench | fio             | the load of a container that is merged
bench | e2fsprogs       | mkfs.ext4 for the volume that everything is measured on
bench | rsync           | makes roots that are not copy-on-write what they were
bench | containerd      | its overlayfs snapshotter is the peer of ours
bench | git             | program that is measured on roots
bench | postgresql      | server and pgbench, measured on roots
fuzz  | clang-14        | libFuzzer: instruments the engine
fuzz  | libclang-rt-14-dev | libFuzzer and the sanitizers of clang
'

fail() {
  echo "install-debian-packages: $1" >&2
  echo "  hint: $2" >&2
  exit 1
}

list_only=no
groups=()
for argument in "$@"; do
  case $argument in
    --list) list_only=yes ;;
    run | build | test | runtimes | bench | programs | fuzz) groups+=("$argument") ;;
    *) fail "unknown argument: $argument" "groups are run, build, test, runtimes, bench, programs, fuzz" ;;
  esac
done
[ ${#groups[@]} -gt 0 ] || groups=(run build test)

command -v dpkg-query >/dev/null || fail "this is no Debian system (no dpkg-query)" \
  "install by hand what scripts/install-debian-packages.sh names, then run npm ci"

declare -A purpose_of
wanted=()
while IFS='|' read -r group name purpose; do
  group=${group// /} name=${name// /} purpose=${purpose# }
  [ -n "$group" ] || continue
  case " ${groups[*]} " in *" $group "*) ;; *) continue ;; esac
  wanted+=("$name")
  purpose_of[$name]="$purpose ($group)"
done <<<"$PACKAGES"

if [ $list_only = yes ]; then
  for name in "${wanted[@]}"; do printf '%-24s %s\n' "$name" "${purpose_of[$name]}"; done
  exit 0
fi

# Unknown packages make dpkg-query fail and are simply not in its answer.
installed=$(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null || true)
missing=()
for name in "${wanted[@]}"; do
  grep -qx "installed $name" <<<"$installed" || missing+=("$name")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

echo "Debian packages to install:"
for name in "${missing[@]}"; do printf '  %-24s %s\n' "$name" "${purpose_of[$name]}"; done
[ "$(id -u)" = 0 ] || fail "not root, so nothing can be installed" "run as root: apt-get install ${missing[*]}"

export DEBIAN_FRONTEND=noninteractive
options=(-o Acquire::Retries=3 -o DPkg::Lock::Timeout=300)
# A third-party source that is out of order must not stop us: what counts is whether the packages can be had.
echo "+ apt-get update"
apt-get "${options[@]}" -qq update || echo "install-debian-packages: apt-get update had errors; trying with the lists that there are" >&2
echo "+ apt-get install ${missing[*]}"
apt-get "${options[@]}" -qq -y --no-install-recommends install "${missing[@]}" ||
  fail "apt-get could not install: ${missing[*]}" "see its messages above; check /etc/apt/sources.list and the network"
