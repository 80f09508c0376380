import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspec.errors import DataError
from archspec.train.data.token_stream import ArrayTokens
from archspec.train.data.windows import Windows

END = 0


def stream(ids):
    ids = np.asarray(ids, dtype=np.uint16)
    return ArrayTokens(
        ids, eos_id=END, text_bytes=len(ids), sha256="0", codec_sha256=None, what="ids"
    )


def windows(ids, *, apart=None, held_out=0.0, separate=True, seq_len=4, max_tokens=10**6):
    """Without a share held out, the whole of it is measured on too."""
    measured = None if held_out else stream(ids if apart is None else apart)
    return Windows(
        "ids",
        stream(ids),
        apart=measured,
        held_out=held_out,
        separate=separate,
        seq_len=seq_len,
        vocab_size=2**16,
        max_tokens=max_tokens,
    )


def epoch(source, number, *, seq_len=4):
    rows = source.epoch_tokens // seq_len
    return source.training_rows(number * rows, rows, seed=0)


@settings(deadline=None)
@given(
    length=st.integers(12, 400),
    held_out=st.floats(0.05, 0.5),
    seq_len=st.integers(1, 9),
    number=st.integers(0, 3),
)
def test_every_window_once_and_nothing_that_is_held_out(length, held_out, seq_len, number):
    """Ids are their own places, so that rows tell what they are made of."""
    held = round(length * held_out)
    if min(length - held, held) < seq_len + 1:
        return
    source = windows(range(length), held_out=held_out, separate=False, seq_len=seq_len)
    rows = epoch(source, number, seq_len=seq_len)
    targets = np.sort(rows.targets.ravel())
    assert (np.diff(targets) == 1).all()  # each target once
    assert len(targets) == (length - held - 1) // seq_len * seq_len
    assert max(rows.token_ids.max(), targets[-1]) < length - held
    assert source.evaluation().token_ids.min() >= length - held


def test_rows_are_tokens_and_the_tokens_after_them():
    rows = epoch(windows(range(1, 100), separate=False), 0)
    assert (rows.targets == rows.token_ids + 1).all()
    assert (rows.token_ids[:, 1:] == rows.targets[:, :-1]).all()
    assert rows.counted.all()
    assert not rows.documents.any()


def test_all_tokens_have_their_turn_although_windows_do_not_fill_the_data():
    source = windows(range(23), separate=False, seq_len=4)  # 5 windows and a slack of 2
    seen = {int(t) for number in range(20) for t in epoch(source, number).targets.flat}
    assert seen == set(range(1, 23))


def test_documents_are_apart_and_split_over_rows():
    ids = [5, 6, END, 7, 8, 9, 10, 11, END, 12, 13, END, END]
    rows = windows(ids, seq_len=4).evaluation()
    assert rows.token_ids.tolist() == [[5, 6, END, 7], [8, 9, 10, 11], [END, 12, 13, END]]
    assert rows.targets.tolist() == [[6, END, 7, 8], [9, 10, 11, END], [12, 13, END, END]]
    assert rows.documents.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 1]]
    # Not counted: what follows the end of another document.
    assert rows.counted.astype(int).tolist() == [[1, 1, 0, 1], [1, 1, 1, 1], [0, 1, 1, 0]]
    assert windows(ids, seq_len=4).density == pytest.approx(9 / 12)


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=4, max_size=40), seq_len=st.integers(2, 12))
def test_packing_wastes_nothing_but_the_first_tokens_of_documents(lengths, seq_len):
    ids = [token for length in lengths for token in (*range(1, length), END)]
    if len(ids) < seq_len + 1:
        return
    source = windows(ids, seq_len=seq_len)
    rows = epoch(source, 0, seq_len=seq_len)
    assert rows.token_ids.size == source.epoch_tokens > len(ids) - 1 - seq_len  # no padding
    starts = np.count_nonzero(rows.token_ids == END)
    assert np.count_nonzero(~rows.counted) == starts
    inside = rows.counted & (rows.token_ids != END)
    follows = (rows.targets == rows.token_ids + 1) | (rows.targets == END)
    assert follows[inside].all()


def test_a_stream_has_no_boundaries():
    rows = windows([1, END, 2, 3, END, 4, 5, 6, 7], separate=False).evaluation()
    assert rows.counted.all()
    assert not rows.documents.any()


def test_evaluation_is_spread_and_limited():
    source = windows(range(1000), held_out=0.5, separate=False, max_tokens=40)
    starts = source.evaluation().token_ids[:, 0]
    assert len(starts) == 10
    assert np.diff(starts).min() >= 4
    assert starts[0] == 500
    assert starts[-1] > 900


def test_a_set_apart_is_measured_on():
    source = windows(range(1, 50), apart=[100 + i for i in range(20)], separate=False)
    assert source.evaluation().token_ids.min() >= 100
    assert np.sort(epoch(source, 0).targets.ravel()).tolist() == list(range(2, 50))


@pytest.mark.parametrize(
    ("length", "held_out", "message"),
    [
        (4, 0.0, "ids: too short: 4 tokens of it are trained on (4 in all)"),
        (20, 0.1, "ids: too short: 2 tokens of it are measured on (20 in all, held_out=0.1)"),
    ],
)
def test_too_little_is_refused(length, held_out, message):
    with pytest.raises(DataError) as refused:
        windows(range(length), held_out=held_out)
    assert str(refused.value) == (
        f"{message}, but one sequence needs seq_len + 1 = 5; give more data, change held_out or "
        "lower seq_len"
    )
