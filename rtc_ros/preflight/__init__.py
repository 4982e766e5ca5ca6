"""The checks of `rtc_ros preflight`, one module for each thing that can be wrong."""
