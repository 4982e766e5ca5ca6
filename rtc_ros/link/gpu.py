"""The process `rtc_link_gpu`."""

from rtc_ros.running.entry import run


def main() -> None:
    """Run it until a signal; see ``rtc_ros.link.node``."""
    run("rtc_ros.link.node", "main_gpu")


if __name__ == "__main__":
    main()
