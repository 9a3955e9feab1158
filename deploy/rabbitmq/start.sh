#!/bin/bash
# Starts RabbitMQ with a user for each role of a fleet, whose address, password and all, lies in /bus/<role>/url: give each service
# the volume of its own role. Passwords are made at the first start and kept there.
#   RABBITMQ_DEFAULT_USER, RABBITMQ_DEFAULT_PASS   one user who may do everything, instead of the roles
#   RABBITMQ_MEMORY                                what it may take, such as 512MB; then it slows publishers down
set -euo pipefail

# Debian's wrapper in /usr/sbin would send the output to a file.
readonly SERVER=/usr/lib/rabbitmq/bin/rabbitmq-server
readonly DEFINITIONS=/var/lib/rabbitmq/definitions.json

# password ROLE: the one in the role's address; a new one where there is none.
password() {
    local file=/bus/$1/url
    if [ ! -s "$file" ]; then
        # Written aside and moved: a start that is cut off leaves no half address.
        printf 'amqp://%s:%s@%s:5672/hub\n' "$1" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" "${RABBITMQ_HOST:-rabbitmq}" >"$file.new"
        mv "$file.new" "$file"
    fi
    sed 's|^amqp://[^:]*:\([^@]*\)@.*|\1|' "$file"
}

{
    printf '%s\n' 'listeners.tcp.default = 5672' 'log.console = true' "log.console.level = ${RABBITMQ_LOG_LEVEL:-warning}" 'log.file = false'
    if [ -n "${RABBITMQ_MEMORY:-}" ]; then
        printf 'vm_memory_high_watermark.absolute = %s\n' "$RABBITMQ_MEMORY"
    fi
    if [ -n "${RABBITMQ_DEFAULT_USER:-}" ]; then
        printf '%s\n' 'loopback_users = none' "default_user = $RABBITMQ_DEFAULT_USER" "default_pass = ${RABBITMQ_DEFAULT_PASS:?}"
    else
        printf 'load_definitions = %s\n' "$DEFINITIONS"
    fi
} >/etc/rabbitmq/rabbitmq.conf

if [ -z "${RABBITMQ_DEFAULT_USER:-}" ]; then
    umask 077
    definitions=$(cat /usr/share/pyexecutorhub/definitions.json)
    for role in gateway runner client; do
        # Read by the service, which is another user; the volume itself is closed to all others.
        umask 022
        password=$(password "$role")
        umask 077
        definitions=${definitions//@$role@/$password}
    done
    printf '%s\n' "$definitions" >"$DEFINITIONS"
fi
exec "$SERVER"
