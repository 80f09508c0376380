import numpy as np

from archspec.search.kinds import shared_kinds
from archspec.testing.spaces import small_model, space_over


def kinds_of(choices: list[str]) -> set[frozenset[str]]:
    space = space_over(small_model(3), choices, {"pool0": (8, 16)})
    labels = list(dict.fromkeys(name for names in space.parts[0].labels for name in names))
    return {
        frozenset(np.array(labels)[column.astype(bool)].tolist())
        for column in shared_kinds(space.parts, labels).T
    }


def test_what_reads_a_pool_is_a_memory_layer() -> None:
    assert kinds_of(["ffn", "experts", "private", "shared0"]) == {frozenset({"private", "shared0"})}


def test_a_sum_is_of_the_kinds_of_its_blocks() -> None:
    assert kinds_of(["ffn", "ffn+shared0", "private", "experts"]) == {
        frozenset({"ffn", "ffn+shared0"}),
        frozenset({"ffn+shared0", "private"}),
    }


def test_what_only_one_choice_is_or_all_are_is_no_kind() -> None:
    assert kinds_of(["ffn", "experts"]) == set()
    assert kinds_of(["private", "shared0"]) == set()
