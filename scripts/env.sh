# Source this (bash) to use .venv by hand:  . scripts/env.sh && rtc_ros --help
# It makes the ROS 2 wheels of .venv the only ROS 2 of this shell, whatever was sourced before.

_venv=${VENV:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv}
case $_venv in /*) ;; *) _venv=$PWD/$_venv ;; esac

# Libraries and modules of a sourced distribution or workspace would be mixed with the wheels'.
_kept=
while IFS= read -r -d : _dir; do
  _foreign=
  while IFS= read -r -d : _prefix; do
    [[ -n $_prefix && $_dir/ == "$_prefix"/* ]] && _foreign=1
  done <<<"${AMENT_PREFIX_PATH:-}:${COLCON_PREFIX_PATH:-}:/opt/ros:"
  [[ -n $_dir && -z $_foreign ]] && _kept=$_kept${_kept:+:}$_dir
done <<<"${LD_LIBRARY_PATH:-}:"
export LD_LIBRARY_PATH=$_kept
unset PYTHONPATH PYTHONHOME COLCON_PREFIX_PATH ROS_DISTRO _ROS_WHEELS_BOOTSTRAP_COMPLETE

export VIRTUAL_ENV=$_venv
export PATH=$_venv/bin:$PATH
export AMENT_PREFIX_PATH=$_venv # the wheels' ament index
export RMW_IMPLEMENTATION=rmw_fastrtps_cpp
export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}
export HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1}
if [[ -z ${MUJOCO_GL:-} && -s $_venv/rtc_gl ]]; then
  MUJOCO_GL=$(<"$_venv/rtc_gl")
  export MUJOCO_GL
fi
if [[ -z ${RTC_KINETIX_PYTHON:-} && -x $_venv-kinetix/bin/python ]]; then
  export RTC_KINETIX_PYTHON=$_venv-kinetix/bin/python
fi
unset _venv _kept _dir _prefix _foreign
