"""The process `rtc_link`."""

from rtc_ros.running.entry import run


def main() -> None:
    """Run it until a signal; see ``rtc_ros.link.node``."""
    run("rtc_ros.link.node")


if __name__ == "__main__":
    main()
