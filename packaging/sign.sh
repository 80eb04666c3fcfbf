#!/bin/sh
# Has files signed by the program whose text is in $SIGNER: one call for each, in place or with a signature beside it.
#
# Runs nothing else that others wrote. Without a signer nothing is signed.
set -eu
if [ -z "${SIGNER-}" ]; then
    echo "no signer: nothing is signed"
    exit 0
fi
signer=$(mktemp)
trap 'rm -f "$signer"' EXIT
trap 'exit 1' HUP INT TERM
chmod 700 "$signer"
printf '%s\n' "$SIGNER" > "$signer"
unset SIGNER
for file; do
    "$signer" "$file"
done
