#!/usr/bin/env bash
# Prepares this folder for `docker compose up -d --build` where that alone would not do: where no image registry answers, or where
# this machine trusts certificates of its own. Makes the Debian image that all others are built from, and says so in .env.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

tools/debian_image.sh
tools/ca_bundle.sh

# set_default NAME VALUE: a line of .env, unless it has one of that name.
set_default() { grep -qs "^$1=" .env || printf '%s=%s\n' "$1" "$2" >>.env; }

set_default DEBIAN_IMAGE "$DEBIAN_IMAGE"
if [ -f deploy/ca-bundle.crt ]; then set_default FLEET_CA_BUNDLE /project/deploy/ca-bundle.crt; fi
