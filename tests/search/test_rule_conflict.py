import dataclasses

import pytest

from archspec.errors import BudgetError
from archspec.search.achievable import check_achievable
from archspec.search.space import Space
from archspec.spec.search.variant import CountRule
from archspec.testing.spaces import allowed_designs, small_model, space_over


def ruled(**rules) -> Space:
    plain = space_over(small_model(5), ["ffn", "experts"], {}, fixed={0: "ffn"}).variants[0]
    return Space([dataclasses.replace(plain, **rules)], {})


def test_rules_that_exclude_each_other_are_named_with_what_is_possible() -> None:
    space = ruled(
        counts=(CountRule("experts", 3), CountRule("ffn", 0, 4)),
        forbidden=(("experts", "experts"), ("ffn", "private")),
    )
    with pytest.raises(BudgetError) as error:
        check_achievable(allowed_designs(space, ()))
    assert str(error.value) == (
        "vary.layers: no placement keeps to: at least 3 layers of experts; no experts before "
        "experts (without the first, 0 to 2 layers of experts are possible); loosen one of them"
    )


def test_ties_are_named_by_their_layers() -> None:
    space = ruled(tied=((1, 2, 3, 4),), counts=(CountRule("experts", 1, 3),))
    with pytest.raises(
        BudgetError, match=r"one choice for layers 1, 2, 3, 4 \(without the first, "
    ):
        check_achievable(allowed_designs(space, ()))


def test_what_is_possible_passes() -> None:
    space = ruled(counts=(CountRule("experts", 2),), forbidden=(("experts", "experts"),))
    check_achievable(allowed_designs(space, ()))
