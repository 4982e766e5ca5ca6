#!/usr/bin/env bash
# Runs the tests in parts: those that others may run beside, one a core; then those marked `alone`,
# `ros` or `e2e`, one after another; then those marked `network`, in a process of their own.
# Takes pytest's arguments; `make test` calls it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

none=5 # pytest's exit status where nothing of what was asked for is in a part
worst=$none
for part in together alone network; do
  beside=()
  [[ $part == together ]] &&
    beside=(-n "${TEST_WORKERS:-$(nproc)}" --dist=loadfile --no-loadscope-reorder)
  python -m pytest --part="$part" "${beside[@]}" "$@"
  status=$?
  # Interrupted, or asked wrongly: the other parts would be, too.
  [[ $status == 0 || $status == 1 || $status == "$none" ]] || exit "$status"
  [[ $status == "$none" || $worst == 1 ]] || worst=$status
done
exit "$worst"
