#!/usr/bin/env bash
# The fleet of docker-compose.yml on this machine, for install.sh:
#   fleet.sh up      build its images, start it, wait until all of it is healthy, run test_script
#   fleet.sh stop    end it; what it remembers stays in its volumes. Exit status 3: there is none
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

readonly API=pyexecutorhub-api
readonly HEALTHY_SECONDS=180

find_compose() {
    if docker compose version >/dev/null 2>&1; then
        compose=(docker compose)
    else
        have docker-compose || apt_install docker-compose
        # By its release, Debian's package is the command or the plugin.
        if have docker-compose; then compose=(docker-compose); else compose=(docker compose); fi
    fi
    # Newer ones build with buildx alone, unless told otherwise; and then what tools/image.sh has built is at hand.
    docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0
}

# containers [SERVICE]: ids of this folder's containers.
containers() {
    docker ps -aq --filter "label=com.docker.compose.project.working_dir=$ROOT" ${1:+--filter "label=com.docker.compose.service=$1"}
}

# all_healthy: whether everything that has a health check passes it.
all_healthy() {
    local ids
    ids=$(containers)
    # One id a word:
    # shellcheck disable=SC2086
    [ -n "$ids" ] && ! docker inspect --format '{{with .State.Health}}{{.Status}}{{end}}' $ids | grep -qE 'starting|unhealthy'
}

await_health() {
    local started=$SECONDS
    step "waiting until all of it is healthy"
    until all_healthy && curl -fsS --max-time 2 "$address/health?ready=1" >/dev/null 2>&1; do
        if [ $((SECONDS - started)) -gt "$HEALTHY_SECONDS" ]; then
            "${compose[@]}" ps >&2
            "${compose[@]}" logs --tail 15 >&2
            die "not healthy after $HEALTHY_SECONDS s; what it says is above"
        fi
        sleep 1
    done
}

up() {
    local ran_before shown user password
    say "compose: $("${compose[@]}" version | head -n 1)"
    tools/fleet_env.sh
    ran_before=$(containers "$API")
    step "building the images and starting the fleet on $address (the first time takes a few minutes)"
    run_logged fleet-up timeout 1800 "${compose[@]}" up -d --build || die "the fleet did not start"
    await_health
    shown=''
    # Printed to the log once, when they were made; shown here once too.
    if [ -z "$ran_before" ]; then
        shown=$("${compose[@]}" logs --no-color "$API" 2>/dev/null | sed -n 's/^[^|]*| //p' | grep -A 5 'CREDENCIALES DE USO' || true)
    fi
    if [ -n "$shown" ]; then
        # The way every user goes, with the password, so that it is known to work.
        user=$(sed -n 's/.*Usuario: *//p' <<<"$shown")
        password=$(sed -n 's/.*Password: *//p' <<<"$shown")
        curl -fsS --max-time 10 -X POST "$address/auth/login" -H 'Content-Type: application/json' \
            -d "{\"username\": \"$user\", \"password\": \"$password\"}" >/dev/null || die "the hub refuses its own credentials"
    fi
    step "running test_script"
    "${compose[@]}" exec -T "$API" pyexecutorhub run test_script || die "test_script did not end well:  ${compose[*]} logs  says why"
    say
    if [ -n "$shown" ]; then
        say "$shown"
    else
        say "credentials: made earlier and shown once; new ones:  ${compose[*]} exec $API pyexecutorhub credentials rotate && ${compose[*]} restart $API"
    fi
    say
    say "The fleet answers on $address. Its logs: ${compose[*]} logs. To stop it: ./install.sh stop"
}

stop() {
    local runner instance left
    step "stopping the fleet"
    local instances=()
    for runner in $(containers runner) $(containers runner-2); do
        instance=$(docker exec "$runner" cat /state/instance 2>/dev/null) && instances+=("$instance")
    done
    run_logged fleet-down timeout 300 "${compose[@]}" down || die "the fleet did not stop"
    # Runners end their programs; one that was ended by force may leave some behind.
    for instance in "${instances[@]}"; do
        left=$(docker ps -aq --filter "label=io.pyexecutorhub.instance=$instance")
        # shellcheck disable=SC2086
        [ -z "$left" ] || docker rm -f $left >/dev/null
    done
    say "stopped; what it remembers stays in its volumes"
}

address="http://127.0.0.1:$(setting API_PORT 8001)"
case ${1:-} in
    up)
        find_compose
        up
        ;;
    stop)
        [ -n "$(containers 2>/dev/null)" ] || exit 3
        find_compose
        stop
        ;;
    *) die "usage: fleet.sh up | stop" ;;
esac
