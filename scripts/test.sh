#!/usr/bin/env bash
# Runs the tests in two parts: those that others may run beside, one a core, then those marked
# `alone`, `ros` or `e2e`, one after another. Takes pytest's arguments; `make test` calls it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

workers=${TEST_WORKERS:-$(nproc)}
none=5 # pytest's exit status where nothing of what was asked for is in a part

python -m pytest --part=together -n "$workers" --dist=loadfile --no-loadscope-reorder "$@"
together=$?
# Interrupted, or asked wrongly: the other part would be, too.
[[ $together == 0 || $together == 1 || $together == "$none" ]] || exit "$together"
python -m pytest --part=alone "$@"
alone=$?
if [[ $alone == "$none" || ($alone == 0 && $together != "$none") ]]; then exit "$together"; fi
exit "$alone"
