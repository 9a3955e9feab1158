#!/usr/bin/env bash
# Makes the Debian image that the others are built from: pulled where an image registry answers, else made from Debian's packages.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

docker image inspect "$DEBIAN_IMAGE" >/dev/null 2>&1 && exit 0

step "looking for debian:$DEBIAN_SUITE-slim"
if docker image inspect "debian:$DEBIAN_SUITE-slim" >/dev/null 2>&1 || timeout 90 docker pull -q "debian:$DEBIAN_SUITE-slim" >/dev/null 2>&1; then
    docker tag "debian:$DEBIAN_SUITE-slim" "$DEBIAN_IMAGE"
    exit 0
fi

step "no image registry answers: building it from Debian's packages (about half a minute)"
is_root || die "only root may build it: run  sudo $ROOT/install.sh  once, or pull debian:$DEBIAN_SUITE-slim yourself"
apt_install debootstrap
work=$(mktemp -d)
cleanup() {
    if mountpoint -q "$work"; then umount "$work" || umount -l "$work"; fi
    rm -rf "$work"
}
trap cleanup EXIT
# dpkg flushes every file: in memory that takes a third of the time. Where mounting is not allowed, the disk will do.
mount -t tmpfs -o size=2g,mode=755 tmpfs "$work" 2>/dev/null || warn "no tmpfs here: this takes longer on disk"
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -m 1 '/debian/\?$' || true)
run_logged debootstrap debootstrap --variant=minbase --include=ca-certificates "$DEBIAN_SUITE" "$work/root" ${mirror:+"$mirror"} \
    || die "debootstrap failed"
rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
tar -C "$work/root" -c . | docker import --change 'CMD ["bash"]' - "$DEBIAN_IMAGE" >/dev/null
