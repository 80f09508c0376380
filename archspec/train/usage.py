"""How slots and experts are used while a model trains: counted now and then, summed over ranks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

from torch import Tensor, nn

from archspec.blocks.moe.module import Experts
from archspec.blocks.pool.module import Pool
from archspec.blocks.usage import Recorder, UsageRecorder, sum_of
from archspec.spec.watch import Watch
from archspec.train.events import ExpertUse, TableUse, Usage


class UsageWatch:
    """Counts the use of slots and experts in every n-th step, and sums it up after a window.

    Which steps are counted and when a report is due depends on the number of the step alone, so
    that a resumed run reports when it would have reported.

    Args:
        model: The model in training.
        settings: How often.
        batch_tokens: Tokens of a step, over all ranks.
        num_steps: Steps of the run; the last one ends a window.
        add_up: Sums counts over all ranks; every rank asks for reports at the same steps.
        copies: Ranks that see the same tokens, those of one tp group.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: Watch,
        *,
        batch_tokens: int,
        num_steps: int,
        add_up: Callable[[Tensor], Tensor] = lambda counts: counts,
        copies: int = 1,
    ) -> None:
        self._every = settings.usage_every_steps
        self._window = settings.usage_window
        self._batch_tokens = batch_tokens
        self._num_steps = num_steps
        self._add_up = add_up
        self._copies = copies
        self._recorder = UsageRecorder(model, by_reader=True)
        modules = dict(model.named_modules())
        self._experts = {name for name, found in modules.items() if isinstance(found, Experts)}
        self._pools = {name for name, found in modules.items() if isinstance(found, Pool)}
        self._seen: dict[str, Tensor] = {}  # by table, [slots] bool
        self._counted = 0

    def recorder(self, step: int) -> Recorder | None:
        """Return what the forward passes of a step, counted from 1, report to; None to skip it."""
        if self._every is None or (step - 1) % self._every:
            return None
        self._counted += 1
        return self._recorder

    def report(self, step: int) -> Usage | None:
        """Sum up what was counted since the last report, if one is due after this step."""
        if not self._counted or not self._is_due(step):
            return None
        whole = {
            owner: {reader: self._whole(counts) for reader, counts in sorted(readers.items())}
            for owner, readers in sorted(self._recorder.readers.items())
        }
        tokens, counted = self._counted * self._batch_tokens, self._counted
        self._recorder.reset()
        self._counted = 0
        return Usage(
            step=step,
            counted=counted,
            tables=tuple(self._tables(whole, tokens)),
            experts=tuple(
                expert_use(owner, sum_of(readers), tokens=tokens)
                for owner, readers in whole.items()
                if owner in self._experts
            ),
        )

    def _is_due(self, step: int) -> bool:
        assert self._every is not None, "without counting nothing is due"
        index, rest = divmod(step - 1, self._every)
        ends_window = rest == 0 and (index == 0 or (index + 1) % self._window == 0)
        return ends_window or step == self._num_steps

    def _whole(self, counts: Tensor) -> Tensor:
        return self._add_up(counts) // self._copies

    def _tables(self, whole: dict[str, dict[str, Tensor]], tokens: int) -> Iterator[TableUse]:
        tables = {owner: readers for owner, readers in whole.items() if owner not in self._experts}
        for owner, readers in tables.items():
            counts = sum_of(readers)
            seen = self._seen.get(owner)
            self._seen[owner] = counts > 0 if seen is None else seen | (counts > 0)
            use = table_use(owner, counts, tokens=tokens, seen=self._seen[owner])
            yield dataclasses.replace(use, hashed=owner not in self._pools)
        for owner, readers in tables.items():
            if len(readers) > 1:
                for reader, counts in readers.items():
                    yield table_use(
                        owner, counts, tokens=tokens, seen=self._seen[owner], reader=reader
                    )


def table_use(
    name: str, counts: Tensor, *, tokens: int, seen: Tensor, reader: str | None = None
) -> TableUse:
    """Sum up the use of a table.

    So many independent look-ups, evenly spread, touch ``1 - (1 - 1 / slots) ** lookups`` of it.

    Args:
        name: Of the table.
        counts: Look-ups of each slot, [slots].
        tokens: Tokens that made them.
        seen: Which slots were looked up so far, [slots] bool.
        reader: Whose look-ups they are, if only one reader's.
    """
    slots, lookups = len(counts), int(counts.sum())
    used = counts[counts > 0]
    most_used = used.sort(descending=True).values[: math.ceil(slots / 100)]
    return TableUse(
        name=name,
        reader=reader,
        hashed=False,
        slots=slots,
        lookups=lookups,
        touched=len(used) / slots,
        even=-math.expm1(lookups * math.log1p(-1 / slots)) if slots > 1 else 1.0,
        entropy=evenness(counts, tokens=tokens),
        top1=int(most_used.sum()) / lookups,
        dead=1 - int(seen.sum()) / slots,
    )


def expert_use(name: str, counts: Tensor, *, tokens: int) -> ExpertUse:
    """Sum up the load of a block's experts, from the choices of each, [num_experts]."""
    load = (counts.double() / tokens).tolist()
    return ExpertUse(
        name=name,
        tokens=tokens,
        load=tuple(load),
        imbalance=max(load) * len(load) / sum(load),
        entropy=evenness(counts, tokens=tokens),
        dead=int((counts == 0).sum()),
    )


def evenness(counts: Tensor, *, tokens: int) -> float:
    """Place the entropy of use between its least and its highest value.

    A token picks several slots that differ, so that even if all tokens pick the same, the entropy
    is ln(picks of a token); it cannot exceed the ln of the slots or of the look-ups there were.

    Args:
        counts: Picks of each slot or expert, [size].
        tokens: Tokens that picked.
    """
    picks = int(counts.sum())
    least = math.log(max(1.0, min(picks / tokens, len(counts))))
    highest = math.log(min(len(counts), picks))
    if highest <= least:
        return 1.0  # there is no choice
    shares = counts[counts > 0].double() / picks
    entropy = -(shares * shares.log()).sum().item()
    return min(1.0, max(0.0, (entropy - least) / (highest - least)))
