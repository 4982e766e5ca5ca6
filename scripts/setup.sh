#!/usr/bin/env bash
# Brings .venv to what requirements/ asks for, once. `make` calls it before each target that needs it.
#   scripts/setup.sh              the venv, the wheels, the package, off-screen rendering
#   scripts/setup.sh rendering    the same, and fail where nothing can render off screen
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
. scripts/pythons.sh
venv=${VENV:-$(venv_for "$root")}
case $venv in /*) ;; *) venv=$root/$venv ;; esac
need_mib=9500 # measured: 9.2 GB with torch's CUDA libraries
versions="3.12 3.11 3.10" # the first that is there, where none is asked for
gl_packages=(libegl1 libegl-mesa0 libgl1-mesa-dri)

say() { printf 'rtc_ros: %s\n' "$*" >&2; }
die() {
  say "$@"
  exit 1
}

# A sourced ROS distribution must not look like packages that are installed already.
unset PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE

find_python() {
  local version
  if [[ -n ${PYTHON:-} ]]; then
    version=$(version_of "$PYTHON") || true
    [[ " $versions " == *" $version "* ]] || die "PYTHON=$PYTHON is not a Python ${versions// /, }"
    python=$PYTHON
    return
  fi
  for version in $versions; do
    python=$(python_of "$version") && return
  done
  die "no Python ${versions// /, } found; name one: make PYTHON=/path/to/python3.12"
}

# Packages from apt, where that is allowed without asking anybody.
apt_install() {
  local sudo=()
  command -v apt-get >/dev/null || return 1
  if [[ $(id -u) != 0 ]]; then
    sudo -n true 2>/dev/null || return 1
    sudo=(sudo -n)
  fi
  say "installing $* with apt-get"
  local install=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive
    apt-get install -y -q --no-install-recommends "$@")
  "${install[@]}" </dev/null >"$log" 2>&1 && return
  "${sudo[@]}" apt-get update -q </dev/null >>"$log" 2>&1 || true
  "${install[@]}" </dev/null >>"$log" 2>&1 && return
  tail -n 5 "$log" >&2
  return 1
}

# evdev, which LeRobot 0.4 (before Python 3.12) brings for keyboards, comes as C source only.
can_compile() {
  local cc
  cc=$("$python" -c 'import sysconfig; print((sysconfig.get_config_var("CC") or "cc").split()[0])')
  command -v "$cc" >/dev/null && [[ -e /usr/include/linux/input.h ]] &&
    "$python" -c 'import os, sysconfig; open(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null
}

need_compiler() {
  local packages=(gcc libc6-dev "python$1-dev")
  [[ $1 == 3.12 ]] && return
  can_compile && return
  apt_install "${packages[@]}" && can_compile && return
  die "one of LeRobot's requirements has to be compiled and here is no C compiler, no Python.h or no linux/input.h: sudo apt-get install ${packages[*]}"
}

make_venv() {
  local version free_mib parent
  version=$(version_of "$python")
  [[ $(uname -s)-$(uname -m) == Linux-x86_64 ]] ||
    die "ROS 2 comes as wheels for Linux x86-64 only, this is $(uname -s) $(uname -m): build with colcon beside a ROS 2 of its own packages (docs/development.md)"
  # Never empty a folder that somebody else made.
  [[ ! -e $venv || -e $venv/rtc_venv ]] ||
    die "$venv exists and was not made by this script: remove it, or name another place: make VENV=/path/to/venv"
  [[ ! -L $venv ]] ||
    die "$venv is a link to an environment of another folder's: name that one, make VENV=$(readlink -f "$venv"), or another place"
  if [[ -e $venv ]]; then # the marker stays, whenever this is interrupted
    find "$venv" -mindepth 1 -maxdepth 1 ! -name rtc_venv -exec rm -rf {} +
  fi
  parent=$(dirname "$venv")
  free_mib=$(df -Pm "$parent" | awk 'NR == 2 { print $4 }')
  [[ $free_mib -ge $need_mib ]] ||
    die "$venv takes $need_mib MiB and $parent has $free_mib MiB free: make room, or name another place: make VENV=/path/to/venv"
  need_compiler "$version"
  say "setting up $venv with $python ($version): some 4 minutes, 9 GB of disk (torch brings its CUDA libraries)"
  mkdir -p "$venv"
  touch "$venv/rtc_venv"
  # Debian keeps ensurepip in a package of its own; pip can also be brought in from outside.
  if "$python" -c 'import ensurepip' 2>/dev/null || apt_install "python$version-venv"; then
    "$python" -m venv "$venv"
  elif "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --without-pip "$venv"
    "$python" -m pip --python "$venv/bin/python" install -q pip ||
      die "pip could not install itself into $venv: try: sudo apt-get install python$version-venv"
  else
    die "Python $version has neither ensurepip nor pip: sudo apt-get install python$version-venv"
  fi
}

pip() {
  local quiet=()
  [[ -t 1 ]] || quiet=(-q --progress-bar off)
  "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@" "${quiet[@]}" </dev/null
}

install_package() {
  local share=$venv/share/rtc_ros index=$venv/share/ament_index/resource_index/packages
  say "installing rtc_ros into $venv, editable"
  pip install --no-deps --no-build-isolation --editable .
  # pip leaves out what a ROS package keeps in share/. Links, so that an edited launch file counts.
  mkdir -p "$share" "$index"
  ln -sfn "$root"/{launch,config,package.xml} "$share"
  ln -sfn "$root/resource/rtc_ros" "$index"
}

works_with() { MUJOCO_GL=$1 "$venv/bin/python" scripts/probe_gl.py >/dev/null 2>&1; }

# Writes the first backend that renders to rtc_gl, or leaves it empty.
find_gl() {
  local backend
  : >"$venv/rtc_gl"
  for backend in egl osmesa; do
    if works_with "$backend"; then
      printf '%s' "$backend" >"$venv/rtc_gl"
      say "off-screen rendering: $backend"
      return
    fi
  done
  return 1
}

setup_rendering() {
  find_gl && return
  if apt_install "${gl_packages[@]}" && find_gl; then
    return
  fi
  say "nothing here renders camera images off screen. Install Mesa's EGL:"
  say "    sudo apt-get install ${gl_packages[*]}"
  say "(or libosmesa6), then run make again."
}

digest() { cat "$@" | sha256sum | cut -c1-64; }

mkdir -p "$(dirname "$venv")"
if command -v flock >/dev/null; then # two `make` at once set up once
  exec 9>"$venv.lock"
  flock 9
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Which LeRobot and which ROS 2 it has goes by its Python.
if [[ -n ${PYTHON:-} && -s $venv/rtc_wheels && -x $venv/bin/python ]]; then
  find_python
  have=$(version_of "$venv/bin/python")
  [[ $(version_of "$python") == "$have" ]] ||
    die "$venv is a Python $have and PYTHON=$PYTHON is a $(version_of "$python"): name another place beside it: make VENV=/path/to/venv; or remove this one: make distclean"
fi

# The venv is only as good as its stamps. No stamp (a first or an interrupted run): from scratch.
wheels="$(digest requirements/{python,ros-wheels,test}.txt) $venv"
package="$(digest setup.py setup.cfg package.xml resource/*) $root"
if [[ $(cat "$venv/rtc_wheels" 2>/dev/null) != "$wheels" ]]; then
  if [[ ! -s $venv/rtc_wheels || $(cut -d' ' -f2- "$venv/rtc_wheels") != "$venv" ]]; then
    find_python
    make_venv
  else
    say "requirements/ changed: updating $venv"
  fi
  rm -f "$venv"/rtc_{wheels,package,gl}
  # The pip that comes with Python 3.10 searches for compatible versions for more than ten minutes.
  pip install --upgrade "pip>=24.2,<27"
  pip install -r requirements/python.txt -r requirements/ros-wheels.txt -r requirements/test.txt ||
    die "pip could not install what requirements/ asks for (its own words are above)"
  printf '%s\n' "$wheels" >"$venv/rtc_wheels"
fi
if [[ $(cat "$venv/rtc_package" 2>/dev/null) != "$package" ]]; then
  install_package
  printf '%s\n' "$package" >"$venv/rtc_package"
fi
if [[ ! -s $venv/rtc_gl && -z ${MUJOCO_GL:-} ]]; then
  setup_rendering
  [[ -s $venv/rtc_gl || ${1:-} != rendering ]] || exit 1
fi
