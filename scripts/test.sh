#!/usr/bin/env bash
# Runs the tests in parts: those that any others may run beside, one a core; those that start nodes,
# two at a time; those marked `alone` or `e2e`, one after another; those marked `network`, in a process
# of their own. Takes pytest's arguments; `make test` calls it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

none=5 # pytest's exit status where nothing of what was asked for is in a part
worst=$none
for part in together nodes alone network; do
  case $part in
    together) beside=(-n "${TEST_WORKERS:-$(nproc)}") ;;
    nodes) beside=(-n "${TEST_WORKERS:-2}") ;;
    *) beside=() ;;
  esac
  [[ ${#beside[@]} == 0 ]] || beside+=(--dist=loadfile --no-loadscope-reorder)
  python -m pytest --part="$part" "${beside[@]}" "$@"
  status=$?
  # Interrupted, or asked wrongly: the other parts would be, too.
  [[ $status == 0 || $status == 1 || $status == "$none" ]] || exit "$status"
  [[ $status == "$none" || $worst == 1 ]] || worst=$status
done
exit "$worst"
