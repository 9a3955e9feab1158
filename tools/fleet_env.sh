#!/usr/bin/env bash
# Prepares this folder for `docker compose up -d --build` where that alone would not do: where no image registry answers, or where
# this machine trusts certificates of its own. Makes the Debian image that all others are built from, and says so in .env.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

tools/debian_image.sh
tools/ca_bundle.sh
grep -qs '^DEBIAN_IMAGE=' .env || printf 'DEBIAN_IMAGE=%s\n' "$DEBIAN_IMAGE" >>.env
