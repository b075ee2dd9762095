#!/usr/bin/env bash
# Makes the virtual environment from the locked packages, and bandmaster itself in it.
set -euo pipefail
venv=$1
python=""
for name in python3.11 python3.12 python3.13 python3; do
  if command -v "$name" >/dev/null 2>&1 &&
    "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$name
    break
  fi
done
if [ -z "$python" ]; then
  echo "bandmaster needs Python 3.11 or newer. On Debian: apt-get install python3 python3-venv" >&2
  exit 2
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    # the lab's packages may be installed beside this (lab/packages.py), and apt waits for nobody
    flock /var/lib/apt/bandmaster.lock \
      bash -c "apt-get update -q && apt-get install -q -y python3-venv"
  else
    echo "Python's venv is missing. On Debian: apt-get install python3-venv" >&2
    exit 2
  fi
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# --no-compile: most of what is installed is never imported, and what is gets compiled then.
# The first line brings a newer pip than Debian's: it reads a package's list of files faster.
pip=("$venv/bin/python" -m pip --quiet --disable-pip-version-check install --no-compile)
"${pip[@]}" --require-hashes --only-binary :all: -r requirements-build.lock
# --no-deps: the lock names everything, and pip's resolver does not hold `coverage[toml]`, which a
# locked package asks for, to the locked `coverage` as soon as a newer one is published.
# pyeapi and ncclient are published as source alone: the only two that are built here
"${pip[@]}" --require-hashes --no-deps --no-build-isolation --only-binary :all: \
  --no-binary pyeapi,ncclient -r requirements.lock
"${pip[@]}" --no-build-isolation --no-deps --editable .
"$venv/bin/python" -m pip --disable-pip-version-check check
