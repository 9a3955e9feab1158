# Shared by install.sh and tools/*.sh: honest messages, and where things are. Source it; it does nothing by itself.
# shellcheck shell=bash disable=SC2034

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV="$ROOT/.venv"
BUILD="$ROOT/.build"
DEBIAN_SUITE=bookworm
DEBIAN_IMAGE=pyexecutorhub-debian:$DEBIAN_SUITE

# setting NAME DEFAULT: the environment's value, else that of .env, else the default.
setting() {
    local value=${!1:-}
    if [ -z "$value" ] && [ -f "$ROOT/.env" ]; then value=$(sed -n "s/^$1=//p" "$ROOT/.env" | tail -n 1 | tr -d "\"'"); fi
    printf '%s' "${value:-$2}"
}

BASE_IMAGE=$(setting HUB_BASE_IMAGE pyexecutorhub-base)
RABBITMQ_IMAGE=$(setting HUB_RABBITMQ_IMAGE pyexecutorhub-rabbitmq)

say()  { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die()  { printf 'error: %s\n' "$*" >&2; exit 1; }

have() { command -v "$1" >/dev/null 2>&1; }

is_root() { [ "$(id -u)" -eq 0 ]; }

# run_logged LABEL COMMAND...: runs it with its output in a log, a dot every two seconds, and the log's tail when it fails.
run_logged() {
    local label=$1 log pid rc=0
    shift
    mkdir -p "$BUILD"
    log="$BUILD/${label//[^A-Za-z0-9]/-}.log"
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        printf '.'
        sleep 2 & wait $! 2>/dev/null
    done
    wait "$pid" || rc=$?
    printf '\n'
    if [ "$rc" -ne 0 ]; then
        tail -n 25 "$log" >&2
        say "the whole log: $log" >&2
    fi
    return "$rc"
}

# apt_install PACKAGE...: installs what is missing, after one update per day.
apt_install() {
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
    done
    [ "${#missing[@]}" -eq 0 ] && return 0
    have apt-get || die "these packages are missing and there is no apt-get to install them: ${missing[*]}"
    is_root || die "these packages are missing: run  sudo apt-get install -y --no-install-recommends ${missing[*]}"
    step "installing from Debian's packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # Lists of a day ago may name versions that are gone.
    if [ -z "$(find /var/lib/apt/lists -name '*_Packages*' -mmin -1440 2>/dev/null | head -n 1)" ]; then
        run_logged apt-update apt-get update -qq || die "apt-get update failed"
    fi
    run_logged apt-install apt-get install -y --no-install-recommends "${missing[@]}" \
        || { run_logged apt-update apt-get update -qq \
             && run_logged apt-install apt-get install -y --no-install-recommends "${missing[@]}"; } \
        || die "apt-get install failed: ${missing[*]}"
}

# content_key FILE...: a short hash of files, to see whether what was built from them is still up to date.
content_key() { cat "$@" | sha256sum | cut -c1-16; }
