#!/usr/bin/env bash
# Runs the tests in two parts: those that others may run beside, several at a time, then those
# marked `alone`, one after another. Takes pytest's arguments; `make test` calls it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Most tests wait for processes of theirs more than they compute; a worker with torch takes 1 GB.
cores=$(nproc)
workers=${TEST_WORKERS:-$((cores < 4 ? 3 * cores : 12))}
none=5 # pytest's exit status where nothing of what was asked for is in a part

python -m pytest --part=together -n "$workers" --dist=loadfile --no-loadscope-reorder "$@"
together=$?
# Interrupted, or asked wrongly: the other part would be, too.
[[ $together == 0 || $together == 1 || $together == "$none" ]] || exit "$together"
python -m pytest --part=alone "$@"
alone=$?
if [[ $alone == "$none" || ($alone == 0 && $together != "$none") ]]; then exit "$together"; fi
exit "$alone"
