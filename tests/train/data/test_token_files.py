import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspec.errors import DataError
from archspec.train.data.shard import Shard
from archspec.train.data.token_files import TokenFiles


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    by_index=st.booleans(),
    data=st.data(),
)
def test_shards_read_as_one_stream(tmp_path_factory, lengths, by_index, data):
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(sum(lengths))
    parts = [rng.integers(0, 4, length) for length in lengths]
    paths = [folder / f"{number}.npy" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        np.save(path, part.astype(np.uint32))
        ends = np.union1d(np.flatnonzero(part == 0) + 1, [len(part)])
        np.save(folder / f"{path.name}.idx.npy", ends)
    whole = np.concatenate(parts)
    width = data.draw(st.integers(1, len(whole)))
    starts = np.array(data.draw(st.lists(st.integers(0, len(whole) - width), min_size=1)))
    files = TokenFiles(
        paths, eos_id=None if by_index else 0, index_suffix=".idx.npy" if by_index else None
    )
    expected = np.stack([whole[start : start + width] for start in starts])
    assert len(files) == len(whole)
    assert (files.read(starts, width) == expected).all()
    last = np.zeros(len(whole), dtype=bool)
    if by_index:
        last[np.cumsum(lengths) - 1] = True
    last |= whole == 0
    flags = files.ends(starts, expected)
    assert (flags == np.stack([last[start : start + width] for start in starts])).all()


def test_ids_of_either_width_and_file(opened, write_ids, tmp_path):
    ids = np.arange(200) % 256
    write_ids("narrow.bin", ids)
    write_ids("wide.bin", ids, "uint32")
    np.save(tmp_path / "array.npy", ids.astype(np.uint16))
    (tmp_path / "narrow.bin.json").write_text('{"dtype": "uint16", "tokens": 200, "eos_id": 9}')
    sources = [
        opened({"tokens": "narrow.bin", "name": "ids"}),
        opened({"tokens": "wide.bin", "dtype": "uint32", "eos_id": 9, "name": "ids"}),
        opened({"tokens": "array.npy", "eos_id": 9, "name": "ids"}),
    ]
    rows = [source.training_rows(0, 20, seed=1) for source in sources]
    for other in rows[1:]:
        assert (other.token_ids == rows[0].token_ids).all()
        assert (other.counted == rows[0].counted).all()


def test_patterns_are_sorted_and_named(opened, write_ids):
    for number in (2, 10, 1):
        write_ids(f"part-{number:02}.bin", [number] * 30)
    source = opened(
        {"tokens": "part-*.bin", "dtype": "uint16", "packing": "stream", "held_out": 0.3}
    )
    assert source.name == "part"
    assert set(source.evaluation().token_ids.flat) == {10}


def test_more_shards_than_may_be_open(opened, write_ids, monkeypatch):
    monkeypatch.setattr("archspec.train.data.token_files.MOST_OPEN", 3)
    for number in range(20):
        write_ids(f"{number:02}.bin", [number] * 10)
    opens = []
    mapped = Shard.open
    monkeypatch.setattr(Shard, "open", lambda shard: opens.append(shard.path.name) or mapped(shard))
    source = opened({"tokens": "*.bin", "dtype": "uint16", "packing": "stream"})
    targets = source.training_rows(0, source.epoch_tokens // 8, seed=0).targets
    assert len(np.unique(targets)) >= 19
    assert len(opens) > 20


def test_opening_reads_next_to_nothing(tmp_path):
    """A sparse file of 8 GiB opens in a process that may not hold a tenth of it."""
    path = tmp_path / "huge.bin"
    with path.open("wb") as file:
        file.truncate(8 * 2**30)
    code = (
        "import resource, sys, pathlib, time\n"
        "import numpy as np\n"
        "from archspec.train.data.token_files import TokenFiles\n"
        "began = time.perf_counter()\n"
        "tokens = TokenFiles([pathlib.Path(sys.argv[1])], dtype='uint16', eos_id=1)\n"
        "tokens.read(np.array([0, len(tokens) // 2, len(tokens) - 4097]), 4097)\n"
        "read = [line for line in open('/proc/self/io') if line.startswith('rchar')]\n"
        "print(read[0].split()[1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    read, peak = map(int, run.stdout.split())
    assert read < 256 * 2**20  # bytes; 64 MiB of samples, and Python itself
    assert peak < 800 * 2**10  # KiB


def test_a_file_that_changes_while_it_is_read(opened, write_ids):
    path = write_ids("ids.bin", range(200))
    source = opened({"tokens": "ids.bin", "dtype": "uint16", "packing": "stream"})
    source.training_rows(0, 4, seed=0)
    with path.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(DataError) as refused:
        source.training_rows(0, 4, seed=0)
    assert str(refused.value) == (
        f"{path}: changed while the run reads it (400 bytes before, 100 now); restore it and "
        "resume the run, or start a new run"
    )


def test_an_id_beyond_the_vocabulary_in_a_batch(opened, write_ids):
    ids = np.zeros(10**5, dtype=np.uint16)
    values = {"tokens": "ids.bin", "dtype": "uint16", "packing": "stream", "held_out": 0.001}
    write_ids("ids.bin", ids)
    source = opened(values)
    rows = source.epoch_tokens // 8
    ids[12345] = 777  # between the windows that are looked at when the file is opened
    path = write_ids("ids.bin", ids)
    source = opened(values)
    with pytest.raises(DataError) as refused:
        source.training_rows(0, rows, seed=0)
    assert str(refused.value) == (
        f"{path}: token 12345 (byte 24690): token ids must be below vocab_size, but this one is "
        "777 and the model has vocab_size=300; raise vocab_size, or check that these are token ids "
        "of the stated dtype"
    )


def test_the_record_sees_changes_and_not_copies(write_ids):
    ids = np.arange(1000)
    paths = [write_ids(f"{name}.bin", ids) for name in "ab"]
    os.utime(paths[0], (1, 1))
    hashes = [TokenFiles([path], dtype="uint16").sha256 for path in paths]
    assert hashes[0] == hashes[1]
    paths.append(write_ids("c.bin", ids[::-1]))
    options = [{"eos_id": 3}, {"dtype": "uint32"}]
    hashes = [TokenFiles([path], dtype="uint16").sha256 for path in paths[1:]]
    hashes += [TokenFiles(paths[:1], **({"dtype": "uint16"} | option)).sha256 for option in options]
    assert all(one != two for one, two in itertools.combinations(hashes, 2))


def test_a_large_file_is_known_by_samples(write_ids, monkeypatch):
    monkeypatch.setattr("archspec.train.data.fingerprint.FULL", 100)
    ids = np.arange(2**18) % 1000
    before = TokenFiles([write_ids("ids.bin", ids)], dtype="uint16").sha256
    again = TokenFiles([write_ids("same.bin", ids)], dtype="uint16").sha256
    ids[-1] += 1
    after = TokenFiles([write_ids("ids.bin", ids)], dtype="uint16").sha256
    longer = TokenFiles([write_ids("ids.bin", np.append(ids, 0))], dtype="uint16").sha256
    assert before == again
    assert len({before, after, longer}) == 3


def test_notes_say_what_ends_documents(write_ids, tmp_path):
    path = write_ids("ids.bin", [1, 2, 3])
    (tmp_path / "ids.bin.json").write_text(json.dumps({"dtype": "uint16", "eos_id": 3}))
    files = TokenFiles([path])
    assert files.bounded
    assert files.ends(np.array([0]), np.array([[1, 2, 3]])).tolist() == [[False, False, True]]
