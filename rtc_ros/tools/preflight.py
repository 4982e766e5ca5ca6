"""`rtc_ros preflight`: what would go wrong, found before anything moves.

Looks at the running robot (its drivers; our nodes needn't run), the parameter file and the
checkpoint. Publishes nothing and changes nothing. Exit code 0: nothing is ✗, though something
may be !; 2: there is a ✗, or the parameter file can't be used.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import Console

from rtc_ros.command_line import SECONDS, assigned, real
from rtc_ros.preflight import cameras, checkpoint, commands, joints, limits, machine, timing
from rtc_ros.preflight.findings import Finding, bad, exit_code, show
from rtc_ros.preflight.probe import Probe
from rtc_ros.preflight.setup import Setup, read_setup
from rtc_ros.ros.parameters import ConfigurationError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rtc_ros preflight",
        description="Check the running robot and the checkpoint against a parameter file.",
    )
    parser.add_argument("params_file", help="the YAML file that the nodes are started with")
    parser.add_argument(
        "arguments", nargs="*", metavar="name:=value", help="launch arguments, as for `start rtc`"
    )
    parser.add_argument("--seconds", type=SECONDS, default=3.0, help="how long to listen")
    parser.add_argument(
        "--patience", type=real(), default=5.0, help="how long to wait for the first messages [s]"
    )
    parser.add_argument(
        "--measure", action="store_true", help="load the policy and time a guided chunk"
    )
    return parser


def examine(
    setup: Setup,
    probe: Probe,
    *,
    seconds: float = 3.0,
    patience_s: float = 5.0,
    measure: bool = False,
) -> list[Finding]:
    """Listen to the robot through ``probe`` and run every check; see the module."""
    spec, spread = None, None

    def look() -> list[Finding]:
        nonlocal spec, spread
        findings, spec, spread = checkpoint.look_at_checkpoint(setup)
        return findings

    findings = list(_guarded("checkpoint", look))
    horizon = 50 if spec is None else spec.horizon
    probe.listen(setup)
    topics = [*setup.state_topics, *(c.topic for c in setup.cameras)]
    probe.settle(topics, patience_s)
    probe.collect(seconds)
    checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("joint states", lambda: joints.check_topics(setup, probe)),
        ("joint names", lambda: joints.check_names(setup, probe)),
        ("limits", lambda: limits.check_limits(setup, probe, patience_s)),
        ("pose", lambda: [] if spec is None else joints.check_units(setup, probe, spread)),
        ("camera rates", lambda: cameras.check_rates(setup, probe)),
        ("images", lambda: cameras.check_images(setup, probe, spec)),
        ("QoS of the inputs", lambda: commands.check_inputs_qos(setup, probe)),
        ("listeners", lambda: commands.check_listeners(setup, probe)),
        ("other commanders", lambda: commands.check_competitors(setup, probe)),
        ("own nodes", lambda: commands.check_nodes(setup, probe)),
        ("clock", lambda: commands.check_clock(setup, probe)),
        ("latency", lambda: [] if spec is None else _timing(setup, spec, measure)),
        ("real-time rights", lambda: machine.check_realtime(setup)),
        ("shared memory", lambda: machine.check_shared_memory(setup, horizon)),
        ("segments", lambda: machine.check_segments(setup)),
    ]
    for subject, check in checks:
        findings += _guarded(subject, check)
    return findings


def _guarded(subject: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield what ``check`` finds; one that breaks off is a finding, and the others go on."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - whatever the robot sends, it must not end this
        said = " ".join(str(error).split())
        yield bad(
            subject,
            f"this check broke off: {type(error).__name__}: {said}",
            "nothing is known of it: look at it by hand, and report this sentence",
        )


def _timing(setup: Setup, spec: timing.PolicySpec, measure: bool) -> list[Finding]:
    latency_s = None
    if measure:
        try:
            latency_s = timing.measured_latency_s(setup)
        except Exception as error:  # noqa: BLE001 - a checkpoint can fail in any way; it is said
            return [bad("loading the policy", str(error), "the sentence says what to do")]
    return list(timing.check_latency(setup, spec, latency_s))


def main(argv: Sequence[str] | None = None) -> int:
    """Print what is found; 0 where nothing is ✗, 2 where something is or the file is no use."""
    # Intermixed: launch arguments may also stand behind an option.
    options = _parser().parse_intermixed_args(argv)
    try:
        values = assigned(options.arguments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with Probe() as probe:
        try:
            setup = read_setup(options.params_file, values, probe.context)
        except (ValueError, FileNotFoundError, ConfigurationError) as error:
            print(f"✗ {error}", file=sys.stderr)
            return 2
        findings = examine(
            setup,
            probe,
            seconds=options.seconds,
            patience_s=options.patience,
            measure=options.measure,
        )
    show(findings, Console())
    return exit_code(findings)


if __name__ == "__main__":
    sys.exit(main())
