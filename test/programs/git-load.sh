#!/bin/bash
# Works with git in a folder: git-load.sh make|work FOLDER
#
#   make   origin.git (bare, packed), old (a clone with two far branches and a work tree, half loose, half packed)
#   work   everything with both, and with a repository made there; prints each commit, tree and status, the same each time
#
# Any error ends it. Times and names are fixed, so the same work gives the same ids.
set -euo pipefail
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 LC_ALL=C TZ=UTC
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org
export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
git() { command git -c gc.auto=0 -c maintenance.auto=false -c advice.detachedHead=false "$@"; }
cd "$2"

# History for fast-import: two branches of 25 commits, each with its own 150 files; the second has a file of 3 MiB.
history() {
  python3 - <<'PYTHON'
import random, sys
rng, out = random.Random(7), sys.stdout.buffer
mark = 0
for branch in ('main', 'far'):
    for commit in range(25):
        mark += 1
        out.write(b'commit refs/heads/%s\nmark :%d\ncommitter C <c@example.org> %d +0000\ndata 1\nx\n' % (branch.encode(), mark, 1_600_000_000 + mark))
        if branch == 'far' and commit == 0:
            out.write(b'from :5\n')
        for _ in range(12):
            name = b'%s/d%d/f%d' % (branch.encode() if rng.random() < .7 else b'both', rng.randrange(10), rng.randrange(15))
            data = bytes(rng.choices(b'abcdefghij \n', k=rng.choice((10, 500, 9000))))
            mode = b'100755' if rng.random() < .1 else b'100644'
            out.write(b'M %s inline %s\ndata %d\n%s\n' % (mode, name, len(data), data))
        out.write(b'M 120000 inline link\ndata 4\nboth\n')
        if branch == 'far' and commit % 20 == 0:
            out.write(b'M 100644 inline big\ndata %d\n%s\n' % (3 << 20, rng.randbytes(3 << 20)))
PYTHON
}

# The repository is sound, its work tree clean, and this is what it holds.
tell() {
  git -C "$1" fsck --strict --full --no-dangling
  git -C "$1" for-each-ref --format='%(refname) %(objectname)'
  [ "$(git -C "$1" rev-parse --is-bare-repository)" = true ] || { git -C "$1" status --porcelain; git -C "$1" write-tree; }
}

change() {
  mkdir -p "$1/both"
  for n in 1 2 3 4 5 6; do
    echo "change $n $2" >> "$1/both/changed-$n"
    mkdir -p "$1/new/d$n" && echo "$2" > "$1/new/d$n/file"
  done
  git -C "$1" add -A
  git -C "$1" mv both "moved-$2"
  git -C "$1" rm -q -r -f --ignore-unmatch main/d1 far/d1
  git -C "$1" add -A
  git -C "$1" commit -q -m "$2"
}

case $1 in
  make)
    git init -q --bare -b main origin.git
    history | git -C origin.git fast-import --quiet
    git -C origin.git repack -q -a -d
    git clone -q origin.git old
    git -C old branch -q far origin/far
    for n in 1 2 3; do echo "$n" > "old/loose-$n"; git -C old add -A; git -C old commit -q -m "loose $n"; done
    ;;
  work)
    tell old
    for branch in far main far main; do
      git -C old checkout -q "$branch"
      git -C old status --porcelain
    done
    change old one
    git -C old checkout -q far
    change old two
    git -C old merge -q --no-edit -X theirs main > /dev/null || { git -C old add -A; git -C old commit -q --no-edit; }
    git -C old stash list
    tell old
    git -C old worktree add -q ../tree main
    change tree three
    git -C old remote set-url origin ../origin.git
    git -C old push -q origin main far
    git -C old worktree remove ../tree
    git -C old gc -q --aggressive --prune=now
    git -C old checkout -q -b topic main~1
    echo topic > old/topic && git -C old add topic && git -C old commit -q -m topic
    git -C old rebase -q main
    git -C old reset -q --hard origin/main
    git -C old clean -qfdx
    tell old
    git -C origin.git gc -q --aggressive --prune=now
    tell origin.git
    git clone -q origin.git new
    git clone -q --no-local --depth 5 "file://$PWD/origin.git" shallow
    git init -q -b main made
    cp -a new/. made/copy && rm -rf made/copy/.git
    git -C made add -A
    git -C made commit -q -m made
    git -C made gc -q --prune=now
    rm -rf old
    mv new old
    tell old
    tell made
    tell shallow
    ;;
esac
