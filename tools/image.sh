#!/usr/bin/env bash
# image.sh TAG DOCKERFILE CONTEXT: builds an image from the local Debian image, unless the one there was built from the same file.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

tag=$1 dockerfile=$2 context=$3
key=$(content_key "$dockerfile")
if [ "$(docker image inspect --format '{{index .Config.Labels "io.pyexecutorhub.built-from"}}' "$tag" 2>/dev/null)" = "$key" ]; then
    exit 0
fi
"$ROOT/tools/debian_image.sh"
step "building the image $tag"
# The classic builder needs no further package and knows all that these files use.
DOCKER_BUILDKIT=0 run_logged "image-$tag" docker build --network bridge --label "io.pyexecutorhub.built-from=$key" \
    --build-arg "DEBIAN_IMAGE=$DEBIAN_IMAGE" -t "$tag" -f "$dockerfile" "$context" \
    || die "the image $tag could not be built"
