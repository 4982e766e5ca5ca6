"""The process `rtc_monitor`."""

from rtc_ros.running.entry import run


def main() -> None:
    """Run it until a signal; see ``rtc_ros.monitor.node``."""
    run("rtc_ros.monitor.node")


if __name__ == "__main__":
    main()
