"""``archspec plan``: what a model needs on every rank of a mesh, before anything is built."""

from __future__ import annotations

import argparse
import pathlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from archspec.cli.command import Subparsers, add_json, add_set, console, declare, print_json

if TYPE_CHECKING:
    from archspec.compiler.plan.faults import PlanError
    from archspec.compiler.plan.make import BuildPlan
    from archspec.compiler.plan.search import MeshSearch
    from archspec.compiler.verify import Verification
    from archspec.spec.hardware import HardwareSpec
    from archspec.spec.model import ModelSpec
    from archspec.spec.plan import PlanSpec
    from archspec.spec.tree import Node

TABLE_OPTIMIZERS = ("adamw", "row_adam", "row_adagrad")  # spelt out, as in `setting`


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "plan",
        run,
        summary="lay a model over a mesh: shapes, bytes, collectives and time of every rank",
        example="archspec plan specs/models/memory_plus_1.3b_16m.yaml --plan "
        "specs/plans/h100x64.yaml\n"
        "archspec plan specs/models/mixed_1t.yaml --search --world-size 1024 --hardware h100",
    )
    parser.add_argument("spec", metavar="SPEC", help="a model document")
    parser.add_argument(
        "--plan", metavar="PLAN", help="a plan document; with --search, all but mesh and recompute"
    )
    parser.add_argument(
        "--world-size", type=int, metavar="N", help="all ranks, where the plan says auto"
    )
    parser.add_argument(
        "--hardware",
        metavar="DEVICE",
        help="a device that `archspec hardware` lists, or a document's path (default: the plan's)",
    )
    parser.add_argument(
        "--seq-len", type=int, metavar="N", help="tokens per sequence (default: max_seq_len)"
    )
    parser.add_argument(
        "--micro-tokens",
        type=int,
        metavar="N",
        help="tokens of a rank in one forward pass (default: one sequence)",
    )
    parser.add_argument(
        "--table-optimizer",
        choices=TABLE_OPTIMIZERS,
        default="adamw",
        help="how tables are updated; row_* keep gradients only of rows read (default: adamw)",
    )
    parser.add_argument(
        "--allow-oversize",
        action="store_true",
        help="print a plan that does not fit the device instead of refusing it",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="lay the model of three ranks out without memory and compare every parameter",
    )
    add_set(parser)
    add_json(parser)
    search = parser.add_argument_group("search")
    search.add_argument(
        "--search",
        action="store_true",
        help="try every mesh of --world-size ranks and rank those that fit by tokens per second",
    )
    search.add_argument(
        "--top", type=int, default=10, metavar="K", help="meshes to show (default: 10)"
    )
    search.add_argument("--write", metavar="FILE", help="write the fastest as a plan document")


def run(arguments: argparse.Namespace) -> int:
    """Print the plan, or what is wrong with it at its lines in both documents."""
    from archspec.compiler.plan.faults import PlanError
    from archspec.compiler.plan.make import make_plan
    from archspec.errors import ArchspecError
    from archspec.spec.load import read_document, resolve_plan
    from archspec.spec.resolve import resolve_model

    spec_root = read_document(arguments.spec, "model", arguments.overrides)
    spec = resolve_model(spec_root)
    if arguments.search:
        return _search(arguments, spec)
    _refuse_alone(arguments)
    plan_root = read_document(arguments.plan, "plan")
    plan = resolve_plan(plan_root)
    try:
        found = make_plan(
            spec,
            plan,
            world_size=arguments.world_size,
            hardware=_hardware(arguments, plan),
            allow_oversize=arguments.allow_oversize,
            **_lengths(arguments),
        )
    except PlanError as error:
        raise _placed(error, spec_root, plan_root) from None
    except ArchspecError:
        raise
    except ValueError as error:
        raise ArchspecError(str(error)) from None
    verification = _verify(found) if arguments.verify else None
    status = 1 if verification is not None and verification.differences else 0
    if arguments.json:
        verified = {} if verification is None else {"verified": asdict(verification)}
        print_json({**found.as_dict(), **verified})
        return status
    from archspec.report.plan import plan_view

    out = console()
    out.print(plan_view(found, width=out.width))
    if verification is not None:
        out.print(verification.describe())
    return status


def _verify(found: BuildPlan) -> Verification:
    from archspec.compiler.verify import verify_plan

    return verify_plan(found)


def _refuse_alone(arguments: argparse.Namespace) -> None:
    from archspec.errors import ArchspecError

    if arguments.write is not None:
        raise ArchspecError("--write goes with --search")
    if arguments.plan is None:
        raise ArchspecError(
            "which plan? give --plan, such as specs/plans/single.yaml, or --search to find one"
        )


def _lengths(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "seq_len": arguments.seq_len,
        "micro_tokens": arguments.micro_tokens,
        "table_optimizer": arguments.table_optimizer,
    }


def _search(arguments: argparse.Namespace, spec: ModelSpec) -> int:
    """Print the fastest meshes and why others were dropped; 2 if none fits."""
    from archspec.compiler.plan.search import search_meshes
    from archspec.errors import ArchspecError
    from archspec.spec.load import load_plan
    from archspec.spec.plan import PlanSpec

    base = PlanSpec() if arguments.plan is None else load_plan(arguments.plan)
    hardware = _hardware(arguments, base)
    if hardware is None or arguments.world_size is None:
        missing = "--hardware" if hardware is None else "--world-size"
        raise ArchspecError(f"--search needs --world-size and --hardware; give {missing}")
    try:
        found = search_meshes(
            spec,
            base,
            world_size=arguments.world_size,
            hardware=hardware,
            **_lengths(arguments),
        )
    except ArchspecError:
        raise
    except ValueError as error:
        raise ArchspecError(str(error)) from None
    if arguments.json:
        print_json(_as_dict(found, arguments.top))
    else:
        from archspec.report.plan_search import mesh_search_view

        console().print(mesh_search_view(found, hardware, top=arguments.top))
    if found.candidates and arguments.write is not None:
        _write(arguments, base, found)
    return 0 if found.candidates else 2


def _as_dict(found: MeshSearch, top: int) -> dict[str, object]:
    return {
        "tried": found.tried,
        "fitting": len(found.candidates),
        "candidates": [one.as_dict() for one in found.candidates[:top]],
        "rejections": [asdict(one) for one in found.rejections],
    }


def _write(arguments: argparse.Namespace, base: PlanSpec, found: MeshSearch) -> None:
    from archspec.compiler.plan.search import with_mesh
    from archspec.errors import ArchspecError
    from archspec.report.documents import plan_yaml

    best = found.candidates[0]
    plan = with_mesh(base, best.mesh, best.recompute)
    if arguments.hardware is not None:
        plan = plan.model_copy(update={"hardware": arguments.hardware})
        plan = plan.located(pathlib.Path())  # written elsewhere, a path must not depend on where
    try:
        pathlib.Path(arguments.write).write_text(plan_yaml(plan))
    except OSError as error:
        raise ArchspecError(f"--write: {arguments.write}: {error.strerror}") from None


def _hardware(arguments: argparse.Namespace, plan: PlanSpec) -> HardwareSpec | None:
    from archspec.spec.load import load_hardware

    name = arguments.hardware or plan.hardware
    return None if name is None else load_hardware(name)


def _placed(error: PlanError, spec_root: Node, plan_root: Node) -> Exception:
    """Say what is wrong at its line of the model, or of the plan, and name the other's."""
    from archspec.errors import Problem, SpecError, format_path

    problems = []
    for fault in error.faults:
        if fault.spec_path:
            place, path = spec_root.place_of(fault.spec_path), fault.spec_path
            where = f"{plan_root.place_of(fault.plan_path)}: {format_path(fault.plan_path)}"
            message = f"{fault.message} ({where})" if fault.plan_path else fault.message
        else:
            place, path = plan_root.place_of(fault.plan_path), fault.plan_path
            message = fault.message
        problems.append(Problem(place, path, message))
    return SpecError(problems)
