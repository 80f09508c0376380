"""Documents of any kind as one line and as YAML."""

from __future__ import annotations

import yaml

from archspec.spec.dump import spec_hash, to_yaml
from archspec.spec.hardware import HardwareSpec
from archspec.spec.load import Spec
from archspec.spec.model import ModelSpec
from archspec.spec.plan import PlanSpec
from archspec.spec.search.spec import SearchSpec
from archspec.units import format_count


def document_line(spec: Spec) -> str:
    """Say what a document declares, in one line."""
    if isinstance(spec, ModelSpec):
        kinds = {block.type for layer in spec.layers for block in layer.blocks}
        return f"model, {len(spec.layers)} layers of {', '.join(sorted(kinds))}"
    if isinstance(spec, SearchSpec):
        return f"search, {spec.trials} trials over {_depths(spec)} layers"
    if isinstance(spec, PlanSpec):
        sizes = ", ".join(f"{axis} {size}" for axis, size in spec.mesh.model_dump().items())
        return f"plan, {sizes}"
    if isinstance(spec, HardwareSpec):
        return f"hardware, {spec.name}"
    return f"training, {format_count(spec.tokens)} tokens in {spec.num_steps} steps"


def _depths(spec: SearchSpec) -> str:
    """Say how many layers the models of a search have."""
    depths = sorted({len(variant.choices) for variant in spec.variants})
    return " or ".join(map(str, depths))


def document_yaml(spec: Spec, *, canonical: bool) -> str:
    """Write a document with every default filled in; it loads again to the same value."""
    if isinstance(spec, ModelSpec):
        comment = f"hash {spec_hash(spec)}" if canonical else ""
        return to_yaml(spec, canonical=canonical, comment=comment)
    document = spec.document if isinstance(spec, SearchSpec) else spec
    return yaml.safe_dump(document.model_dump(), sort_keys=False, allow_unicode=True)


def plan_yaml(plan: PlanSpec) -> str:
    """Write a plan as a document, without what is at its default."""
    head = {"archspec": plan.archspec, "kind": plan.kind}
    body = plan.model_dump(exclude_defaults=True) | {"mesh": plan.mesh.model_dump()}
    return yaml.safe_dump({**head, **body}, sort_keys=False, allow_unicode=True)
