#!/usr/bin/env bash
# All that is to be known of this machine's GPU in at most 7 minutes: scripts/gpu_check.sh OUT [WHEELS] [OPTIONS]
# leaves OUT/results.md and OUT/results.json. It needs Python 3.12 (PYTHON, default python3) with torch,
# transformers and numpy; neither a network nor ROS nor an installed rtc_ros. WHEELS is a folder of wheels that
# scripts/gpu_wheels.sh collected; they are unpacked beside the results for this run only. OPTIONS are those of
# `rtc_ros bench gpu`. Without a CUDA device it runs at a small size on the CPU, and says so.
set -euo pipefail

say() { printf 'gpu_check: %s\n' "$*" >&2; }
usage() {
  say "usage: scripts/gpu_check.sh OUT [WHEELS] [OPTIONS of rtc_ros bench gpu]"
  exit 2
}

[[ $# -ge 1 && $1 != -* ]] || usage
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
command -v "$python" >/dev/null || { say "there is no $python: name one with PYTHON"; exit 2; }
out=$1
shift
mkdir -p "$out"
path=$root
if [[ $# -ge 1 && $1 != -* ]]; then
  wheels=$1
  shift
  compgen -G "$wheels/*.whl" >/dev/null || { say "there is no wheel in $wheels"; exit 2; }
  site=$(mktemp -d "$out/.site.XXXXXX")
  trap 'rm -rf "$site"' EXIT
  for wheel in "$wheels"/*.whl; do # a wheel is a zip file: it takes no pip
    "$python" -m zipfile -e "$wheel" "$site" || { say "$wheel can't be unpacked"; exit 2; }
    say "carried: $(basename "$wheel")"
  done
  path=$site:$path
fi
# What is installed there already comes after what was carried, which is what was asked for.
export PYTHONPATH=$path${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
status=0
"$python" -m rtc_ros.bench.gpu "$out" "$@" & # so that a signal to this script reaches it
child=$!
trap 'kill -TERM $child 2>/dev/null' TERM INT HUP
while true; do # `wait` returns at a signal, too
  wait "$child" && status=0 || status=$?
  kill -0 "$child" 2>/dev/null || break
done
exit "$status"
