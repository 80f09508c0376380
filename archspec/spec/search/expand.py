"""Which layers of the target share a choice because one layer of the proxy stands for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from archspec.errors import Path
from archspec.spec.dump import spec_hash
from archspec.spec.model import LayerSpec, ModelSpec
from archspec.spec.search.proxy import Proxy
from archspec.spec.search.shrink import Shrink, faults, groups
from archspec.spec.search.spec import SearchSpec
from archspec.spec.search.variant import Variant

Report = Iterator[tuple[Path, str]]


def proxied(variant: Variant, proxy: Proxy) -> Variant:
    """Return the variant with choices for the proxy's layers only: tied groups, or their centres.

    Around centres stands the first choice. Layers that are fixed stay fixed and apart.
    """
    parts = groups(proxy.num_layers or len(variant.choices), len(variant.choices))
    if proxy.expand == "group":
        free = (tuple(i for i in part if len(variant.choices[i]) > 1) for part in parts)
        return dataclasses.replace(variant, tied=tuple(part for part in free if len(part) > 1))
    centres = {_middle(part) for part in parts}
    choices = tuple(
        given if index in centres else given[:1] for index, given in enumerate(variant.choices)
    )
    return dataclasses.replace(variant, choices=choices)


def samples(variant: Variant, proxy: Proxy) -> tuple[int, ...]:
    """Return for each layer of the proxy the layer of a proxied variant whose choice it has.

    The middle of those that vary, or of all if none does.
    """
    parts = groups(proxy.num_layers or len(variant.choices), len(variant.choices))
    free = ([i for i in part if len(variant.choices[i]) > 1] for part in parts)
    return tuple(_middle(some or part) for some, part in zip(free, parts, strict=True))


def _middle(layers: Sequence[int]) -> int:
    return layers[len(layers) // 2]


def shrink_of(spec: SearchSpec, proxy: Proxy) -> Shrink:
    """Return what makes the proxies of a search's designs; all variants have the same positions."""
    first = spec.variants[0]
    return Shrink(first.base, proxy, samples(first, proxy))


def check_proxy(
    proxy: Proxy, variants: Sequence[Variant], pool_sizes: dict[str, tuple[int, ...]]
) -> Report:
    """Yield what is wrong with a proxy, with paths below it.

    Args:
        proxy: The section.
        variants: Those of the search, before they are proxied.
        pool_sizes: As in ``SearchSpec``.
    """
    depths = {len(variant.choices) for variant in variants}
    if len(depths) > 1 or len({variant.base.d_model for variant in variants}) > 1:
        yield (), "a proxy has one width and depth, so d_model and num_layers cannot vary beside it"
        return
    depth = depths.pop()
    if proxy.num_layers is not None and proxy.num_layers > depth:
        yield (
            ("num_layers",),
            "a proxy has no more layers than the target, but num_layers="
            f"{proxy.num_layers} and the base has {depth}; lower it",
        )
        return
    if any(variant.tied for variant in variants):
        yield (), "a proxy ties layers itself; remove vary.layers.tied"
        return
    yield from ((("d_model",), message) for message in _collisions(proxy, variants, pool_sizes))
    if proxy.check is not None:
        if proxy.check.d_model == proxy.d_model:
            yield ("check", "d_model"), f"is that of the proxy, {proxy.d_model}; give another"
            return
        second = _collisions(proxy.second(), variants, pool_sizes)
        yield from ((("check", "d_model"), message) for message in second)


def _collisions(
    proxy: Proxy, variants: Sequence[Variant], pool_sizes: dict[str, tuple[int, ...]]
) -> Iterator[str]:
    """Say which parts cannot be shrunk, and which different ones become equal."""
    firsts: dict[str, tuple[str, ModelSpec]] = {}
    for given in variants:
        variant = proxied(given, proxy)
        shrink = Shrink(variant.base, proxy, range(len(variant.choices)))
        try:
            wrong = [*_parts(shrink, variant, pool_sizes)]
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            wrong = [f"{detail['loc'][-1]}: {detail['msg']}, but is {detail['input']}"]
        if wrong:
            yield f"the proxy does not work: {wrong[0]}; give other sizes"
            return
        target = variant.base.replace(layers=tuple(some[0] for some in variant.choices))
        key = spec_hash(shrink(target))
        other, model = firsts.setdefault(key, (variant.describe(), target))
        if model != target:
            yield (
                f"the proxies of {other} and of {variant.describe()} are equal, so they could not "
                "be told apart; give larger sizes, a smaller round_to, or factors"
            )
            return


def _parts(
    shrink: Shrink, variant: Variant, pool_sizes: dict[str, tuple[int, ...]]
) -> Iterator[str]:
    pools = dict(variant.base.template_pools)
    for name, sizes in pool_sizes.items():
        small = {shrink.pool(pools[name].model_copy(update={"num_keys": n})) for n in sizes}
        if len(small) < len(sizes):
            keys = ", ".join(str(shrink.size("num_keys", n)) for n in sizes)
            yield f"sizes {', '.join(map(str, sizes))} of pool {name!r} become {keys}"
        pools[name] = pools[name].model_copy(update={"num_keys": min(sizes)})
    known: dict[LayerSpec, LayerSpec] = {}
    for position in dict.fromkeys(variant.choices):
        shrunk: dict[LayerSpec, str] = {}
        for layer in position:
            small_layer = known.setdefault(layer, shrink.layer(layer))
            name = "+".join(layer.names)
            if shrunk.setdefault(small_layer, name) != name:
                yield f"{shrunk[small_layer]!r} and {name!r} become equal"
    distinct = tuple(known)
    read = {block.pool_name for layer in distinct for block in layer.blocks}
    model = variant.base.replace(
        layers=distinct, pools={name: pool for name, pool in pools.items() if name in read}
    )
    yield from faults(shrink.shrink(model, range(len(distinct))))
