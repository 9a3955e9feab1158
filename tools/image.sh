#!/usr/bin/env bash
# image.sh TAG DOCKERFILE [NAME=VALUE…] [FILE…]: builds an image from the local Debian image, in the project's folder, unless the one
# there was built from the same file, with the same build arguments and the same further files.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

tag=$1 dockerfile=$2
shift 2
files=("$dockerfile") build_args=()
for argument in "$@"; do
    case $argument in
        *=*) build_args+=(--build-arg "$argument") ;;
        *) files+=("$argument") ;;
    esac
done
key=$({ cat "${files[@]}" && printf '%s\n' "${build_args[@]}"; } | sha256sum | cut -c1-16)
if [ "$(docker image inspect --format '{{index .Config.Labels "io.pyexecutorhub.built-from"}}' "$tag" 2>/dev/null)" = "$key" ]; then
    exit 0
fi
tools/debian_image.sh
tools/ca_bundle.sh
step "building the image $tag"
# The classic builder needs no further package and knows all that these files use.
DOCKER_BUILDKIT=0 run_logged "image-$tag" docker build --network bridge --label "io.pyexecutorhub.built-from=$key" \
    --build-arg "DEBIAN_IMAGE=$DEBIAN_IMAGE" "${build_args[@]}" -t "$tag" -f "$dockerfile" . \
    || die "the image $tag could not be built"
