#!/usr/bin/env bash
# Puts the certificates that this machine's pip is set to trust, if any, where builds of images find them: deploy/ca-bundle.crt.
# A company's proxy has a certificate of its own, without which pip can't reach any index from inside a build.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

bundle=${HUB_CA_BUNDLE:-${PIP_CERT:-}}
if [ -z "$bundle" ] && have python3; then
    bundle=$(python3 -m pip config get global.cert 2>/dev/null || true)
fi
bundle=${bundle:-${REQUESTS_CA_BUNDLE:-}}
target=$ROOT/deploy/ca-bundle.crt
if [ -z "$bundle" ]; then
    rm -f "$target"
elif [ ! -r "$bundle" ]; then
    die "the CA bundle $bundle can't be read: set HUB_CA_BUNDLE to one that can"
elif ! cmp -s "$bundle" "$target"; then
    cp "$bundle" "$target.new"
    chmod 644 "$target.new"
    mv "$target.new" "$target"
fi
