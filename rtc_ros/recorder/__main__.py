"""The process `rtc_recorder`."""

from rtc_ros.running.entry import run


def main() -> None:
    """Run it until a signal; see ``rtc_ros.recorder.node``."""
    run("rtc_ros.recorder.node")


if __name__ == "__main__":
    main()
