"""The process `rtc_inference`."""

from rtc_ros.running.entry import run


def main() -> None:
    """Run it until a signal; see ``rtc_ros.inference.node``."""
    run("rtc_ros.inference.node")


if __name__ == "__main__":
    main()
