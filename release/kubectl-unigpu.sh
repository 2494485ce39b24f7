#!/bin/sh
# kubectl unigpu, as krew installs it: its first start puts the wheel next to this file into an environment of its own.
set -eu

version=VERSION
home="${XDG_CACHE_HOME:-$HOME/.cache}/kubectl-unigpu"
place="$home/$version"

fail() {
    echo "kubectl unigpu: $*" >&2
    exit 1
}

install() { # $1: folder of the wheel
    python3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "needs Python 3.11 or later, with its venv module, as python3"
    echo "kubectl unigpu: first start, installing packages into $home" >&2
    mkdir -p "$home"
    # An environment can't be moved. It gets its name when it is whole, so that starts at the same time don't meet.
    new=$(mktemp -d "$place-XXXXXX")
    python3 -m venv "$new" && "$new/bin/pip" install --quiet --disable-pip-version-check "$1"/*.whl >&2 || {
        rm -rf "$new"
        fail "no packages; make pip use an index that has them, for example by PIP_INDEX_URL"
    }
    ln -sfn "$new" "$place"
}

if [ ! -x "$place/bin/kubectl-unigpu" ]; then
    # krew links to this file; the wheel is next to the file itself.
    self=$(python3 -c 'import os, sys; print(os.path.realpath(sys.argv[1]))' "$0") || fail "needs python3"
    install "$(dirname "$self")"
fi
exec "$place/bin/kubectl-unigpu" "$@"
