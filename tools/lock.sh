#!/usr/bin/env bash
# Writes the requirement locks anew from pyproject.toml: versions with hashes, and no address of a package index.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

uv=$(command -v uv) || die "uv is needed to write the locks: pip install uv"
cd "$ROOT"
mkdir -p "$BUILD"
printf 'setuptools>=80\n' >"$BUILD/build.in"
common=(--extra fast --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-annotate --python-version 3.11 --quiet)
"$uv" pip compile "${common[@]}" -o requirements.lock pyproject.toml "$BUILD/build.in"
"$uv" pip compile "${common[@]}" --extra dev -o requirements-dev.lock pyproject.toml "$BUILD/build.in"
# What the benchmark compares with, beside all of the above in the very same versions.
"$uv" pip compile "${common[@]}" --constraint requirements-dev.lock --extra dev --extra bench -o requirements-bench.lock pyproject.toml "$BUILD/build.in"
