#!/bin/sh
# hookd with curl alone. Each of the calls is in doc/api.md.
set -eu
sockets=${HOOKD_SOCKETS:-/run/hookd}

submit() {
	curl --silent --show-error --fail-with-body --unix-socket "$sockets/submit.sock" "$@"
}

# An envelope: receivers get {"type", "timestamp", "data"}.
submit --json '{"type":"order.paid","idempotency_key":"order-4711-paid","data":{"order":4711}}' http://hookd/v1/events

# The same again is the same event: "duplicate":true.
submit --json '{"type":"order.paid","idempotency_key":"order-4711-paid","data":{"order":4711}}' http://hookd/v1/events

# Any bytes, as they are, with their content type.
printf '<order>4711</order>' |
	submit -H 'Content-Type: application/xml' --data-binary @- 'http://hookd/v1/events?type=order.paid'

# Many at once, all or none: a line each.
printf '%s\n' '{"type":"order.paid","data":1}' '{"type":"order.paid","data":2}' |
	submit -H 'Content-Type: application/x-ndjson' --data-binary @- http://hookd/v1/events
