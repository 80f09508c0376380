"""``archspec hardware``: the devices that times can be estimated on."""

from __future__ import annotations

import argparse
import pathlib

from archspec.cli.command import Subparsers, add_json, console, declare, print_json


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "hardware",
        run,
        summary="list the devices that times are estimated on, show one, or measure this CPU",
        example="archspec hardware h100\narchspec hardware --measure --out this-cpu.yaml",
    )
    parser.add_argument("device", nargs="?", metavar="DEVICE", help="a name, or a document's path")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="measure this CPU and print it as a hardware document; takes seconds",
    )
    parser.add_argument("--out", metavar="FILE", help="write the measured document to a file")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the devices, one of them, or what was measured."""
    from archspec.errors import ArchspecError
    from archspec.report.hardware import device_view, devices_table
    from archspec.spec.hardware import bundled_hardware
    from archspec.spec.load import load_hardware

    if arguments.measure:
        if arguments.device is not None:
            raise ArchspecError(f"--measure measures this CPU; leave out {arguments.device!r}")
        return _measure(arguments)
    if arguments.out is not None:
        raise ArchspecError("--out goes with --measure")
    if arguments.device is not None:
        device = load_hardware(arguments.device)
        if arguments.json:
            print_json(device.model_dump())
        else:
            console().print(device_view(device))
        return 0
    devices = {name: load_hardware(name) for name in bundled_hardware()}
    if arguments.json:
        print_json({name: device.model_dump() for name, device in devices.items()})
    else:
        console().print(devices_table(devices))
    return 0


def _measure(arguments: argparse.Namespace) -> int:
    from archspec.cost.measure_device import measure_device
    from archspec.errors import ArchspecError
    from archspec.report.hardware import hardware_yaml

    device = measure_device()
    if arguments.json:
        print_json(device.model_dump())
    if arguments.out is not None:
        try:
            pathlib.Path(arguments.out).write_text(hardware_yaml(device))
        except OSError as error:
            raise ArchspecError(f"--out: {arguments.out}: {error.strerror}") from None
    elif not arguments.json:
        print(hardware_yaml(device), end="")
    return 0
