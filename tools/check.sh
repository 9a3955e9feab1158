#!/usr/bin/env bash
# The quick round while working: style, types and unit tests.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

tools/python_env.sh dev
export PATH="$VENV/bin:$PATH"
ruff check .
ruff format --check .
mypy
pytest -q -n 3 --dist worksteal tests/unit
