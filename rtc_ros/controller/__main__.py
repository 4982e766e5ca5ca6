"""The process `rtc_controller`."""

from rtc_ros.running.entry import run


def main() -> None:
    """Run it until a signal; see ``rtc_ros.controller.node``."""
    run("rtc_ros.controller.node")


if __name__ == "__main__":
    main()
