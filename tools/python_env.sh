#!/usr/bin/env bash
# Makes .venv with the hub in it. Quick when nothing changed. As argument
#   dev    with the test tools too
#   bench  the same again in .venv-bench, with what the benchmark compares with: no test is to meet that
set -euo pipefail
. "$(dirname "$0")/lib.sh"

extra=${1:-}
[ "$extra" != bench ] || VENV="$ROOT/.venv-bench"
lock="$ROOT/requirements${extra:+-$extra}.lock"

# The newest Python that will do; Debian 12 has 3.11.
python=
for candidate in python3 python3.13 python3.12 python3.11; do
    if have "$candidate" && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    apt_install python3 python3-venv
    python=/usr/bin/python3
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed; found $("$python" --version)"
fi

key=$(content_key "$lock" "$ROOT/pyproject.toml")-$("$python" -c 'import sys; print(sys.version.split()[0])')
stamp="$VENV/.installed${extra:+-$extra}"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$key" ]; then
    exit 0
fi

step "making the virtual environment with $("$python" --version)"
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    apt_install python3-venv
fi
if [ ! -x "$VENV/bin/python" ] || [ "$("$VENV/bin/python" -c 'import sys; print(sys.version_info[:2])' 2>/dev/null)" != "$("$python" -c 'import sys; print(sys.version_info[:2])')" ]; then
    rm -rf "$VENV"
    "$python" -m venv "$VENV"
fi
# Without the test tools, what is used is compiled at its first use: most never is.
compile=--no-compile
[ -n "$extra" ] && compile=--compile
run_logged pip "$VENV/bin/python" -m pip install --disable-pip-version-check --quiet "$compile" --require-hashes -r "$lock" \
    || die "pip could not install what $(basename "$lock") pins"
# Installed editable and without its dependencies, which the lock has just brought; setuptools comes from the lock too.
run_logged pip-hub "$VENV/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e "$ROOT" \
    || die "pip could not install the hub itself"
printf '%s' "$key" >"$stamp"
