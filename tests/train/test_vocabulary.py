import pytest

from archspec.errors import DataError
from archspec.train.vocabulary import BOS, EOS, FIRST_ENTITY, NUM_BYTES, PAD, check_vocabulary


def test_tokens_do_not_overlap():
    assert min(BOS, EOS, PAD) >= NUM_BYTES
    assert max(BOS, EOS, PAD) < FIRST_ENTITY == 272
    assert len({BOS, EOS, PAD}) == 3


def test_the_smallest_vocabulary_passes():
    check_vocabulary(272, num_entities=0, what="")
    check_vocabulary(372, num_entities=100, what="100 of something")


def test_a_small_vocabulary_names_both_numbers_and_the_way_out():
    with pytest.raises(DataError, match=r"vocab_size >= 372 .*num_objects=100.*vocab_size=371"):
        check_vocabulary(371, num_entities=100, what="num_objects=100")
