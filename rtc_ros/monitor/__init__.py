"""rtc_monitor: what a running robot does, at a glance."""
