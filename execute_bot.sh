#!/usr/bin/env bash
# Asks the hub to run a program, for cron and for people:
#   0 */8 * * * /path/to/execute_bot.sh 6
# Where the hub is and who asks comes from the environment, else from the .env beside this script:
#   HUB_URL (or API_PORT), and HUB_TOKEN (from: pyexecutorhub token create cron --scope run) or HUB_USERNAME and HUB_PASSWORD.
# Exit status: 0 accepted; 1 used wrongly, 2 the hub can't be reached, 3 the hub refuses (standard error says why).
set -euo pipefail

folder=$(cd "$(dirname "$0")" && pwd)
# Cron's PATH may be short.
PATH=$PATH:/usr/local/bin:/usr/bin:/bin

fail() { printf 'error: %s\n' "$2" >&2; exit "$1"; }

if [ $# -lt 1 ] || [ $# -gt 2 ] || [ -z "$1" ]; then
    printf 'Usage: %s <program_id> [parameters as a JSON object]\n' "$0" >&2
    exit 1
fi

# setting NAME DEFAULT: the environment's value, else that of .env, else the default.
setting() {
    local value=${!1:-}
    if [ -z "$value" ] && [ -r "$folder/.env" ]; then
        value=$(sed -n "s/^$1=//p" "$folder/.env" | tail -n 1)
        value=${value#[\"\']}
        value=${value%[\"\']}
    fi
    printf '%s' "${value:-$2}"
}

# json CODE ARGUMENT...: a line of Python with json and sys at hand; shells are bad at JSON.
json() {
    local code=$1
    shift
    python3 -c "import json, sys; $code" "$@"
}

# call PATH BODY: POSTs, and leaves status and answer behind. What is secret goes through files and pipes, as command lines are public.
call() {
    local answered
    answered=$(printf '%s' "$2" | curl -sS --max-time 30 -w '\n%{http_code}' -X POST "$url$1" -H 'Content-Type: application/json' \
        ${token:+-H @<(printf 'Authorization: Bearer %s\n' "$token")} --data-binary @-) || fail 2 "no hub answers on $url"
    status=${answered##*$'\n'}
    answer=${answered%$'\n'*}
}

refused() { fail 3 "$(json 'print(json.loads(sys.argv[1]).get("detail"))' "$answer" 2>/dev/null || printf 'status %s' "$status")"; }

url=$(setting HUB_URL "http://127.0.0.1:$(setting API_PORT 8001)")
url=${url%/}
request=$(json 'given = json.loads(sys.argv[2]); isinstance(given, dict) or sys.exit(1)
print(json.dumps({"program_id": sys.argv[1], "parameters": given}))' "$1" "${2:-{\}}" 2>/dev/null) \
    || fail 1 "the parameters must be a JSON object, such as '{\"name\": \"Temis\"}'"

token=''
given_token=$(setting HUB_TOKEN '')
if [ -n "$given_token" ]; then
    token=$given_token
else
    username=$(setting HUB_USERNAME '') password=$(setting HUB_PASSWORD '')
    [ -n "$username" ] && [ -n "$password" ] || fail 1 "set HUB_TOKEN, or HUB_USERNAME and HUB_PASSWORD, in the environment or in $folder/.env"
    call /auth/login "$(printf '%s\0%s' "$username" "$password" \
        | json 'u, p = sys.stdin.read().split("\0"); print(json.dumps({"username": u, "password": p}))')"
    [ "$status" = 200 ] || refused
    token=$(printf '%s' "$answer" | json 'print(json.load(sys.stdin)["access_token"])')
fi

call /execute "$request"
[ "$status" = 202 ] || refused
printf 'Bot %s execution triggered at %s\n' "$1" "$(date)"
json 'print(json.loads(sys.argv[1])["execution_id"])' "$answer"
