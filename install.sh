#!/usr/bin/env bash
# Installs and starts the hub on this machine. Running it again is safe and quick.
#   ./install.sh [--yes]    set everything up, start the hub, run test_script and show its output
#   ./install.sh --systemd  the same, and the hub starts with the machine from now on
#   ./install.sh --compose  the fleet of docker-compose.yml instead: RabbitMQ, a gateway and two runners in containers
#   ./install.sh --full     with LibreOffice for programs; a fleet always has it
#   ./install.sh stop       end the hub, or the fleet, and its containers; the Docker daemon stays
set -euo pipefail
. "$(dirname "$0")/tools/lib.sh"
cd "$ROOT"

usage() { sed -n '2,7s/^# \{0,1\}//p' "$0"; }

yes='' command=install systemd='' full=''
for argument in "$@"; do
    case $argument in
        --yes | -y) yes=--yes ;;
        --systemd) systemd=yes ;;
        --compose) command=fleet ;;
        --full) full=--full ;;
        stop) command=stop ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; die "unknown argument: $argument" ;;
    esac
done

hub="$VENV/bin/pyexecutorhub"
state=${HUB_STATE_DIR:-$ROOT/.hub}
pid_file="$state/hub.pid"
unit=pyexecutorhub.service
log_file="$state/hub.log"

# The hub that our pid file names, if that process is still ours: pids are used again.
hub_pid() {
    local pid
    pid=$(cat "$pid_file" 2>/dev/null) || return 1
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "pyexecutorhub up" || return 1
    printf '%s' "$pid"
}

healthy() { curl -fsS --max-time 2 "$address/health" >/dev/null 2>&1; }

stop_hub() {
    local pid
    if pid=$(hub_pid); then
        step "stopping the hub (process $pid)"
        if systemctl is-active --quiet "$unit" 2>/dev/null; then systemctl stop "$unit"; else kill -TERM "$pid"; fi
        for _ in $(seq 1 100); do
            [ -d "/proc/$pid" ] || break
            sleep 0.2
        done
        if [ -d "/proc/$pid" ]; then
            warn "it did not end within 20 s: ending it by force"
            kill -KILL "$pid"
        fi
    else
        say "no hub of ours runs"
    fi
    # A hub that was ended by force may leave containers behind; only those of this hub are touched.
    if have docker && [ -f "$state/instance" ]; then
        local left
        left=$(docker ps -aq --filter "label=io.pyexecutorhub.instance=$(cat "$state/instance")" 2>/dev/null || true)
        if [ -n "$left" ]; then
            step "removing containers that were left"
            # One id a word:
            # shellcheck disable=SC2086
            docker rm -f $left >/dev/null
        fi
    fi
    say "stopped; the Docker daemon stays"
}

# The system starts the hub with the machine, and again when it fails; an ordered stop is no failure.
write_unit() {
    cat >"/etc/systemd/system/$unit" <<END
[Unit]
Description=PyExecutorHub
Wants=docker.service network-online.target
After=docker.service network-online.target

[Service]
ExecStart=$hub up --config $ROOT/config.yaml
WorkingDirectory=$ROOT
Environment=HUB_LOG_FILE=$log_file
Restart=on-failure
TimeoutStopSec=60

[Install]
WantedBy=multi-user.target
END
    systemctl daemon-reload
    systemctl enable --quiet "$unit"
}

start_hub() {
    local launcher
    step "starting the hub on $address"
    if [ -n "$systemd" ]; then
        write_unit
        systemctl start "$unit" &
    else
        # In a session of its own and with no file of ours open: it outlives this script on purpose.
        HUB_LOG_FILE="$log_file" setsid nohup "$hub" up --config "$ROOT/config.yaml" >"$state/hub.out" 2>&1 </dev/null &
    fi
    launcher=$!
    for _ in $(seq 1 150); do
        if healthy && hub_pid >/dev/null; then return 0; fi
        # setsid may have forked: the launcher's end says nothing while the hub's own pid file names a living process.
        if ! kill -0 "$launcher" 2>/dev/null && ! hub_pid >/dev/null; then break; fi
        sleep 0.2
    done
    cat "$state/hub.out" >&2 2>/dev/null || true
    tail -n 20 "$log_file" 2>/dev/null >&2 || true
    die "the hub did not start: $state/hub.out and $log_file say why"
}

show_examples() {
    cat <<END

  TOKEN=\$(curl -s -X POST $address/auth/login -H 'Content-Type: application/json' \\
    -d '{"username": "…", "password": "…"}' | python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')
  curl -H "Authorization: Bearer \$TOKEN" $address/programs
  curl -X POST "$address/execute?wait=30" -H "Authorization: Bearer \$TOKEN" -H 'Content-Type: application/json' \\
    -d '{"program_id": "example_script", "parameters": {"name": "you"}}'
END
}

port=$(setting API_PORT 8001)
address="http://127.0.0.1:$port"

if [ "$command" = stop ]; then
    # 3: there is no fleet of this folder.
    fleet=3
    if have docker; then
        fleet=0
        tools/fleet.sh stop || fleet=$?
    fi
    if [ "$fleet" -eq 3 ] || hub_pid >/dev/null; then stop_hub; fi
    if [ "$fleet" -ne 0 ] && [ "$fleet" -ne 3 ]; then exit 1; fi
    exit 0
fi

step "checking requirements"
if [ -n "$systemd" ]; then
    [ -d /run/systemd/system ] || die "--systemd: systemd does not run on this machine"
    is_root || die "--systemd: only root may add a service: run  sudo $ROOT/install.sh --systemd"
fi
say "system: $(. /etc/os-release 2>/dev/null && printf '%s' "${PRETTY_NAME:-$(uname -s)}" || uname -s), user: $(id -un)"
have curl || apt_install curl
if [ ! -f .env ]; then
    step "writing .env"
    cat >.env <<END
# Read by the hub from its working directory. Variables of the environment win over these lines.
HOST_PROJECT_DIR=$ROOT
API_HOST=127.0.0.1
API_PORT=$port
END
fi

if [ "$command" = fleet ]; then
    [ -z "$systemd" ] || die "--systemd and --compose: a fleet starts with the Docker daemon by itself"
    if hub_pid >/dev/null; then die "a hub of this folder runs on $address: ./install.sh stop  ends it"; fi
    tools/docker_engine.sh $yes
    tools/fleet.sh up
    show_examples
    exit 0
fi

# The environment takes its time from the package index, the engine and its images from Debian's packages: both at once.
# apt itself admits one at a time, so what either needs of it comes first.
if ! python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then apt_install python3 python3-venv; fi
tools/docker_engine.sh $yes
tools/python_env.sh >"$(mktemp -d)/python_env" 2>&1 &
environment=$!
tools/base_image.sh $full
step "waiting for the virtual environment"
wait "$environment" || { tools/python_env.sh || die "the virtual environment could not be made"; }

mkdir -p "$state"
chmod 700 "$state"
credentials=$("$hub" credentials create --config "$ROOT/config.yaml")

if hub_pid >/dev/null && healthy; then
    say "the hub runs already on $address"
else
    start_hub
fi

step "running test_script"
if [ -n "$credentials" ]; then
    # The first time: the way every user goes, with the password, so that it is known to work.
    user=$(sed -n 's/.*Usuario: *//p' <<<"$credentials")
    password=$(sed -n 's/.*Password: *//p' <<<"$credentials")
    curl -fsS --max-time 10 -X POST "$address/auth/login" -H 'Content-Type: application/json' \
        -d "{\"username\": \"$user\", \"password\": \"$password\"}" >/dev/null || die "the hub refuses its own credentials"
fi
"$hub" run test_script --config "$ROOT/config.yaml" || die "test_script did not end well: $log_file says why"

if [ -n "$credentials" ]; then
    say
    say "$credentials"
else
    say "credentials: made earlier and shown once; new ones:  $hub credentials rotate"
fi
cat <<END

The hub answers on $address. Its log: $log_file. To stop it: ./install.sh stop
END
if [ -d /run/systemd/system ] && [ -z "$systemd" ]; then
    say "To start it with the machine from now on: ./install.sh stop && ./install.sh --systemd"
fi
show_examples
