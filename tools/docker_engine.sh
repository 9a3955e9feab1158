#!/usr/bin/env bash
# Sees to it that a Docker engine answers: finds one, or installs Debian's and starts it. Asks first on a terminal, unless --yes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# runs NAME PID: whether that process is NAME and alive. A dead one that nobody has waited for still has a pid, but no name of its own
# to run under: its state is Z. Just after its start it may still be the shell, setsid or nohup on the way to becoming NAME.
runs() {
    [ -r "/proc/$2/stat" ] && grep -Eq "\(($1|bash|setsid|nohup)\) [^ZX]" "/proc/$2/stat"
}

drop_stale_pid_file() {
    local pid
    pid=$(cat "$2" 2>/dev/null) || return 0
    runs "$1" "$pid" || rm -f "$2"
}

answers() { docker version --format '{{.Server.Version}}' 2>/dev/null; }

if have docker && version=$(answers); then
    say "Docker engine $version answers"
    exit 0
fi

if have dockerd; then
    what="start the Docker daemon that is installed"
else
    what="install the Docker engine from Debian's packages (docker.io) and start it"
fi
is_root || die "no Docker engine answers, and only root may $what: run  sudo $ROOT/install.sh  (or add yourself to the group docker if one runs)"
if [ "${1:-}" != --yes ] && [ -t 0 ]; then
    read -r -p "No Docker engine answers. Shall I $what? [Y/n] " answer
    case $answer in [nN]*) die "without a Docker engine nothing can run" ;; esac
fi
apt_install docker.io
# Debian 12's docker.io brings the client along, later ones have a package for it.
have docker || apt_install docker-cli

step "starting the Docker daemon"
daemon=''
if [ -d /run/systemd/system ]; then
    systemctl enable --now docker >/dev/null 2>&1 || die "systemctl could not start docker: see  journalctl -u docker"
else
    # Left by a machine or a daemon that went down; dockerd would refuse to start beside them.
    drop_stale_pid_file dockerd /var/run/docker.pid
    drop_stale_pid_file containerd /var/run/docker/containerd/containerd.pid
    # In a session of its own and with no file of ours open: it outlives this script on purpose.
    setsid nohup dockerd >/var/log/dockerd.log 2>&1 </dev/null &
    daemon=$!
fi
for try in $(seq 1 120); do
    if version=$(answers); then
        say "Docker engine $version answers"
        exit 0
    fi
    # Not at once: it takes a moment to become what it is.
    if [ "$try" -gt 6 ] && [ -n "$daemon" ] && ! runs dockerd "$daemon"; then
        tail -n 5 /var/log/dockerd.log >&2
        die "the Docker daemon ended at once: /var/log/dockerd.log says why"
    fi
    sleep 0.5
done
tail -n 20 /var/log/dockerd.log 2>/dev/null >&2 || true
die "the Docker daemon does not answer after 60 s"
