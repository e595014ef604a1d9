#!/usr/bin/env bash
# msgcenter from a shell: send one, send a batch, check the signature of a callback. Needs curl and openssl.
#
#   export MSGCENTER_URL=http://127.0.0.1:8080 MSGCENTER_KEY=mck_...
#   ./sample.sh send 13800138000 '您的业务已受理'
#   ./sample.sh batch '生日快乐' 13800138000 13800138001
#   MSGCENTER_SECRET=whsec_... ./sample.sh verify WEBHOOK-ID WEBHOOK-TIMESTAMP WEBHOOK-SIGNATURE < body
set -euo pipefail

quote() { # a text as a JSON string
	local text=$1
	text=${text//\\/\\\\}
	text=${text//\"/\\\"}
	text=${text//$'\n'/\\n}
	printf '"%s"' "$text"
}

post() { # path, body: tried again with the same Idempotency-Key, as long as Retry-After says
	curl --silent --show-error --fail-with-body --retry 5 --retry-connrefused \
		--header "Authorization: Bearer $MSGCENTER_KEY" --header 'Content-Type: application/json' \
		--header "Idempotency-Key: $(openssl rand -hex 16)" --data-binary "$2" "$MSGCENTER_URL$1"
	echo
}

case ${1:-} in
send)
	post /v1/messages '{"to": '"$(quote "$2")"', "category": "transactional", "content": {"type": "text", "text": '"$(quote "$3")"'}}'
	;;
batch)
	text=$(quote "$2")
	shift 2
	items=
	for to in "$@"; do
		items+="${items:+, }"'{"to": '"$(quote "$to")"', "category": "care", "content": {"type": "text", "text": '"$text"'}}'
	done
	post /v1/messages:batch '{"messages": ['"$items"']}'
	;;
verify)
	age=$(($(date +%s) - $3))
	if ((age > 300 || age < -300)); then
		echo "refused: the call is $age s old" >&2
		exit 1
	fi
	key=$(printf '%s' "${MSGCENTER_SECRET#whsec_}" | base64 -d | od -An -v -tx1 | tr -d ' \n')
	expected=$({ printf '%s.%s.' "$2" "$3"; cat; } | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64)
	for given in $4; do # several while a secret is being rotated
		if [[ $given == "v1,$expected" ]]; then
			echo "good: $2"
			exit 0
		fi
	done
	echo "refused: the signature does not fit" >&2
	exit 1
	;;
*)
	sed -n '4,6s/^# *//p' "$0" >&2
	exit 2
	;;
esac
