#!/usr/bin/env bash
# base_image.sh [--full]: the image that programs run in when they name none; --full with LibreOffice.
# One that has it already keeps it: what was asked for once is not taken away.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

office=no
there=$(docker image inspect --format '{{index .Config.Labels "io.pyexecutorhub.libreoffice"}}' "$BASE_IMAGE" 2>/dev/null || true)
if [ "${1:-}" = --full ] || [ "$there" = yes ]; then office=yes; fi
exec "$ROOT/tools/image.sh" "$BASE_IMAGE" Dockerfile.base "LIBREOFFICE=$office"
