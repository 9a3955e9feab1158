#!/usr/bin/env bash
# The image of RabbitMQ that the fleet and the tests use.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

exec "$ROOT/tools/image.sh" "$RABBITMQ_IMAGE" deploy/rabbitmq/Dockerfile deploy/rabbitmq/start.sh deploy/rabbitmq/definitions.json
