#!/usr/bin/env bash
# Collects the wheels that scripts/gpu_check.sh wants on a machine that has torch, transformers and numpy, but
# no LeRobot and no network: scripts/gpu_wheels.sh FOLDER. Names them with their sizes; 1 where one can't be
# had or they are above 60 MB together (what a machine is given in one go is bounded). For Python 3.12 on x86-64.
set -euo pipefail

limit_mb=60
# LeRobot and what it imports for a SmolVLA beyond what comes with torch and transformers. num2words is asked
# for by transformers' SmolVLM processor. Data sets, robots and training are not imported.
packages=(
  lerobot==0.6.1
  draccus==0.11.6
  mergedeep==1.3.4
  toml==0.10.2
  gymnasium==1.4.0
  farama-notifications==0.0.6
  num2words==0.5.14
)

say() { printf 'gpu_wheels: %s\n' "$*" >&2; }

[[ $# -eq 1 && $1 != -* ]] || { say "usage: scripts/gpu_wheels.sh FOLDER"; exit 2; }
python=${PYTHON:-python3}
"$python" -m pip --version >/dev/null || { say "$python has no pip: name one that has: PYTHON=…"; exit 2; }
mkdir -p "$1"
compgen -G "$1/*.whl" >/dev/null && { say "there are wheels in $1 already: name an empty folder"; exit 2; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for package in "${packages[@]}"; do
  # One by one, so that what can't be had is named. The two platforms are what pip takes one for.
  "$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    -d "$1" "$package" >"$log" 2>&1 </dev/null || {
    grep -v '^WARNING' "$log" | tail -n 3 >&2
    say "there is no wheel of $package"
    exit 1
  }
done
bytes=0
for wheel in "$1"/*.whl; do
  size=$(stat -c %s "$wheel")
  bytes=$((bytes + size))
  printf '%8d kB  %s\n' $((size / 1000)) "$(basename "$wheel")"
done
printf '%8d kB  in all, of at most %d MB\n' $((bytes / 1000)) "${LIMIT_MB:-$limit_mb}"
[[ $bytes -le $((${LIMIT_MB:-$limit_mb} * 1000000)) ]] || {
  say "that is above ${LIMIT_MB:-$limit_mb} MB"
  exit 1
}
