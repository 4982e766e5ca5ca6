"""The process `rtc_sim`."""

from rtc_ros.running.entry import run


def main() -> None:
    """Run it until a signal; see ``rtc_ros.sim.node``."""
    run("rtc_ros.sim.node")


if __name__ == "__main__":
    main()
