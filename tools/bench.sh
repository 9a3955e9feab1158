#!/usr/bin/env bash
# Makes everything that the benchmark needs (its own virtual environment, Docker engine, images) and runs it: make bench.
#   bench.sh [--quick] [--only NAME] [--rounds 3] …    bench.sh --help lists them all
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

tools/python_env.sh bench
tools/docker_engine.sh --yes
tools/base_image.sh
tools/rabbitmq_image.sh
exec "$ROOT/.venv-bench/bin/python" -m tests.benchmarks "$@"
