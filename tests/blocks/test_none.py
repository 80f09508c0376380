"""Empty slots."""

from typing import ClassVar

from archspec.blocks.none.config import NoneConfig
from archspec.testing.blocks import BlockContract, build_rig, random_input


class TestContract(BlockContract):
    cases: ClassVar = {"none": NoneConfig()}


def test_computes_and_keeps_nothing():
    x = random_input(2, 3).requires_grad_()
    change = build_rig(NoneConfig())(x)
    assert not change.requires_grad
    assert change.untyped_storage().nbytes() == x.element_size()
