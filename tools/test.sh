#!/usr/bin/env bash
# Makes everything the tests need (virtual environment, Docker engine, images, RabbitMQ, Compose) and runs them: make test.
#   test.sh             all but what is slow
#   test.sh --full      what is slow, in tests/full: LibreOffice, and the fleet's build and run
#   test.sh --faults    faults of every kind, in tests/faults
#   test.sh WORDS…      makes everything, then runs pytest with these
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

started=$SECONDS
tools/python_env.sh dev
# The documented commands are run as they stand.
for command in curl jq; do have "$command" || apt_install "$command"; done
# A clock that a test may set.
[ "${1:-}" != --faults ] || apt_install libfaketime
tools/docker_engine.sh --yes
tools/base_image.sh
tools/rabbitmq_image.sh
tools/compose.sh
tools/compose.sh --v1
step "set-up took $((SECONDS - started)) s"

export PATH="$VENV/bin:$PATH"
results="$BUILD/features"
if [ "${1:-}" = --full ]; then
    export FEATURE_RESULTS="$results/test-full"
    rm -rf "$FEATURE_RESULTS"
    step "LibreOffice and the fleet: images are built first, which takes minutes"
    pytest -q tests/full
    step "a hostile config.yaml for a minute"
    HOSTILE_SECONDS=60 pytest -q tests/e2e/test_many_programs.py
    step "every row of the seed, and every fault"
    python -m tests.features
    step "all of it took $((SECONDS - started)) s"
    exit 0
fi
if [ "${1:-}" = --faults ]; then
    export FEATURE_RESULTS="$results/test-faults"
    rm -rf "$FEATURE_RESULTS"
    tools/engine_image.sh
    step "faults, on both buses"
    pytest -q tests/faults
    step "every row of the seed, and every fault"
    python -m tests.features
    step "all of it took $((SECONDS - started)) s"
    exit 0
fi
if [ $# -gt 0 ]; then
    exec pytest "$@"
fi

export FEATURE_RESULTS="$results/test"
rm -rf "$results"
step "style and types"
ruff check .
ruff format --check .
mypy
step "unit tests"
pytest -q -n 3 --dist worksteal tests/unit
step "integration tests, on real Docker and real RabbitMQ"
# A file at a time in each of two processes: a file's tests share a hub, and each process has a RabbitMQ of its own.
pytest -q -n 2 --dist loadfile tests/integration
step "end to end, on both buses"
pytest -q -n 2 --dist loadfile tests/e2e
step "every row of the seed, and every fault"
python -m tests.features
step "all of it took $((SECONDS - started)) s"
