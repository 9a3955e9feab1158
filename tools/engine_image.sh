#!/usr/bin/env bash
# The image of a Docker engine in a container, which tests kill, freeze and restart.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

exec "$ROOT/tools/image.sh" pyexecutorhub-test-engine tests/support/engine/Dockerfile
