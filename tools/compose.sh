#!/usr/bin/env bash
# Makes Docker Compose available below .build, without installing anything: taken from the machine, else from Debian's packages.
#   compose.sh        `docker compose`, version 2:  DOCKER_CONFIG=.build/docker-config docker compose …
#   compose.sh --v1   `docker-compose`, version 1:  .build/compose-v1/docker-compose …
set -euo pipefail
. "$(dirname "$0")/lib.sh"

readonly CONFIG="$BUILD/docker-config" V1="$BUILD/compose-v1"
readonly PLUGIN="$CONFIG/cli-plugins/docker-compose"
#: The suite whose docker-compose is version 2, and the one whose is version 1.
readonly V2_SUITE=trixie V1_SUITE=bookworm

# isolated SUITE COMMAND…: apt with one suite and a state of its own, in the folder $work; the machine's is left alone.
isolated() {
    local suite=$1
    shift
    "$@" -qq -o "Dir::State=$work/apt" -o "Dir::State::status=$work/apt/status" -o "Dir::Cache=$work/apt/cache" \
        -o "Dir::Etc::sourcelist=$work/apt/$suite.list" -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root
}

# unpack SUITE FOLDER PACKAGE…: puts what is in Debian's packages into a folder.
unpack() {
    local suite=$1 into=$2 mirror
    shift 2
    have apt-get && have dpkg-deb || die "Docker Compose is missing and there is no apt-get to fetch it with"
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -m 1 '/debian/\?$' || true)
    [ -n "$mirror" ] || die "Docker Compose is missing, and apt names no mirror of Debian to fetch it from: install docker-compose-plugin"
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/debs" "$into"
    : >"$work/apt/status"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
        "$mirror" "$suite" >"$work/apt/$suite.list"
    isolated "$suite" apt-get update >"$work/log" 2>&1 || { cat "$work/log" >&2; die "Debian's list of $suite can't be had"; }
    (cd "$work/debs" && isolated "$suite" apt-get download "$@") >"$work/log" 2>&1 \
        || { cat "$work/log" >&2; die "these packages of $suite can't be had: $*"; }
    for package in "$work"/debs/*.deb; do
        dpkg-deb -x "$package" "$into"
    done
}

make_v2() {
    local there
    mkdir -p "$CONFIG/cli-plugins"
    # Whoever is logged in to a registry stays so.
    [ -e "$CONFIG/config.json" ] || [ ! -f "${HOME:-/root}/.docker/config.json" ] || ln -s "${HOME:-/root}/.docker/config.json" "$CONFIG/"
    DOCKER_CONFIG="$CONFIG" docker compose version >/dev/null 2>&1 && return
    there=$(docker info --format '{{range .ClientInfo.Plugins}}{{if eq .Name "compose"}}{{.Path}}{{end}}{{end}}' 2>/dev/null || true)
    if [ -n "$there" ]; then
        ln -sf "$there" "$PLUGIN"
        return
    fi
    unpack "$V2_SUITE" "$work/root" docker-compose
    # In one step: whoever calls this at the same time finds the whole of it or nothing.
    mv -f "$work/root/usr/libexec/docker/cli-plugins/docker-compose" "$PLUGIN"
}

make_v1() {
    "$V1/docker-compose" version >/dev/null 2>&1 && return
    rm -rf "$V1"
    # Its libraries, less what comes with any Python.
    unpack "$V1_SUITE" "$work/root" docker-compose python3-attr python3-certifi python3-chardet python3-charset-normalizer \
        python3-distro python3-docker python3-dockerpty python3-docopt python3-dotenv python3-idna python3-jsonschema \
        python3-pkg-resources python3-pyrsistent python3-requests python3-six python3-texttable python3-urllib3 \
        python3-websocket python3-yaml
    local python=/usr/bin/python3
    [ -x "$python" ] || python="$VENV/bin/python"
    cat >"$work/root/docker-compose" <<RUN
#!/bin/sh
# -S: nothing of the machine's own packages; its own are these alone.
PYTHONPATH="$V1/usr/lib/python3/dist-packages" exec "$python" -S "$V1/usr/bin/docker-compose" "\$@"
RUN
    chmod +x "$work/root/docker-compose"
    mv "$work/root" "$V1"
}

work=$(mkdir -p "$BUILD" && mktemp -d "$BUILD/compose.XXXXXX")
trap 'rm -rf "$work"' EXIT
if [ "${1:-}" = --v1 ]; then make_v1; else make_v2; fi
