#!/usr/bin/env bash
# Sets up the Python that `rtc_ros bench kinetix` plays in, once: beside .venv, with jax and NumPy 2,
# which can't be in it. env.sh names it in RTC_KINETIX_PYTHON.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/pythons.sh
venv=${VENV:-$(venv_for "$PWD")}
place=$venv-kinetix stamp=$venv-kinetix/rtc_kinetix
wanted=$(sha256sum <requirements/kinetix.txt)
[[ $(cat "$stamp" 2>/dev/null) != "$wanted" ]] || exit 0
if [[ -e $place && ! -e $stamp ]]; then
  echo "rtc_ros: $place exists and was not made by this script: remove it" >&2
  exit 1
fi
if [[ ! -x $place/bin/python ]]; then
  for version in 3.12 3.11 none; do
    [[ $version != none ]] || { echo "rtc_ros: Kinetix wants Python 3.12 or 3.11" >&2; exit 1; }
    python=$(python_of "$version") && break
  done
  echo "rtc_ros: setting up $place with $python ($version): 1.4 GB" >&2
  mkdir -p "$place"
  touch "$stamp"
  "$python" -m venv "$place"
fi
"$place/bin/python" -m pip --disable-pip-version-check --no-input install -q --progress-bar off \
  -r requirements/kinetix.txt </dev/null
printf '%s' "$wanted" >"$stamp"
