"""The ``proxy`` section of a search document: the small model that stands for the target."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from archspec.schema import PositiveInt, Schema
from archspec.spec.search.limits import CountLimit

Size = CountLimit | None


class ProxySize(Schema):
    """Widths of a small model; what is not given follows from that of ``d_model``.

    A size is a number, the same wherever the name occurs, or a factor such as 0.25x. With r the
    proxy's d_model over the target's: inner widths and rows shrink by r and tables by r squared, as
    matrices do, so that their shares of the model stay.
    """

    hidden_dim: Annotated[
        Size, Field(description="Inner width of blocks and experts; default r times.")
    ] = None
    num_heads: Annotated[
        Size,
        Field(
            description="Attention heads; default r times, heads of the same width, unless fewer "
            "than 4 would be left: then heads are halved in width, down to 16."
        ),
    ] = None
    head_dim: Annotated[
        Size, Field(description="Width of an attention head; default see num_heads.")
    ] = None
    num_experts: Annotated[Size, Field(description="Routed experts; default as many.")] = None
    num_keys: Annotated[
        Size,
        Field(description="Half-keys of tables; default the square root of r times."),
    ] = None
    slots: Annotated[Size, Field(description="Rows of n-gram tables; default r times.")] = None
    key_dim: Annotated[Size, Field(description="Width of keys; default r times.")] = None
    value_dim: Annotated[
        Size, Field(description="Width of value rows; default r times, d_model if it was that.")
    ] = None
    row_dim: Annotated[Size, Field(description="Width of n-gram rows; default r times.")] = None


class ProxyCheck(ProxySize):
    """A second size, to see whether the first ranks designs as another would.

    What is not given is as in the proxy.
    """

    d_model: Annotated[PositiveInt, Field(description="Width of the second proxy.")]
    round_to: Annotated[
        PositiveInt | None, Field(description="As of the proxy; default the same.")
    ] = None
    designs: Annotated[
        PositiveInt,
        Field(
            description="Designs of the first rung that are trained at this size too, spread "
            "evenly over the ranking."
        ),
    ] = 8


class Proxy(ProxySize):
    """The model that is trained in place of the target, which alone is priced and written."""

    d_model: Annotated[PositiveInt, Field(description="Width of the proxy, in elements.")]
    round_to: Annotated[
        PositiveInt,
        Field(description="Sizes that follow from a factor are multiples of it, one at least."),
    ] = 8
    num_layers: Annotated[
        PositiveInt | None,
        Field(
            description="Layers of the proxy, each of which stands for neighbouring layers of the "
            "target, as many as relative depth gives it; default as many as the target."
        ),
    ] = None
    expand: Annotated[
        Literal["group", "centre"],
        Field(
            description="group: all layers that a proxy's layer stands for have its choice; "
            "centre: the middle one has, and the others have the first of the choices."
        ),
    ] = "group"
    vocab_size: Annotated[
        PositiveInt | None, Field(description="Vocabulary of the proxy; default the target's.")
    ] = None
    max_seq_len: Annotated[
        PositiveInt | None,
        Field(description="Longest sequence of the proxy, in tokens; default the target's."),
    ] = None
    check: Annotated[
        ProxyCheck | None,
        Field(description="A second size to compare rankings with."),
    ] = None

    def second(self) -> Proxy:
        """Return the proxy at the size of ``check``."""
        assert self.check is not None, "only asked for where there is a check"
        given = self.check.model_dump(exclude={"designs"}, exclude_none=True)
        own = self.model_dump(exclude={"check"})
        return Proxy.model_validate({**own, **given})
