import itertools
import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from archspec.compiler.compile import compile
from archspec.errors import RunError
from archspec.spec.train import Optimizer
from archspec.train.checkpoint import (
    BackgroundSaver,
    State,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from archspec.train.optimizer import build_optimizer

SHARD = "shard_00000.safetensors"
FILES = (SHARD, "index.json", "state.json")


def new_state(spec, seed=0):
    model = compile(spec, seed=seed)
    return State(spec, model, build_optimizer(model, Optimizer()))


@pytest.fixture
def state(spec):
    """A state after two steps, so that there are moments to save."""
    state = new_state(spec)
    advance(state)
    advance(state)
    return state


def advance(state):
    tokens = torch.arange(32).reshape(2, 16)
    state.model(tokens).square().mean().backward()
    state.optimizer.step()
    state.optimizer.zero_grad()


def values(state):
    moments = state.optimizer.state_dict()["state"].values()
    held = [moment[key] for moment in moments for key in sorted(moment)]
    return [*state.model.state_dict().values(), *held]


def equal(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_a_loaded_state_goes_on_as_the_saved_one(tmp_path, state, spec):
    path = save_checkpoint(tmp_path, state, step=2, keep=1)
    other = new_state(spec, seed=1)
    assert load_checkpoint(path, other) == 2
    assert equal(values(other), values(state))
    advance(other)
    advance(state)
    assert equal(values(other), values(state))


def test_saving_does_not_change_the_state(tmp_path, state):
    before = [tensor.clone() for tensor in values(state)]
    save_checkpoint(tmp_path, state, step=2, keep=1)
    assert equal(values(state), before)


def test_files_are_tensors_and_json(tmp_path, state, spec):
    path = save_checkpoint(tmp_path, state, step=2, keep=1)
    assert sorted(file.name for file in path.iterdir()) == sorted(FILES)
    held = load_file(path / SHARD)
    weights = {name.removeprefix("model/") for name in held if name.startswith("model/")}
    assert weights == dict(state.model.named_parameters()).keys()
    assert "pools.big.weight" in weights
    assert held.keys() == json.loads((path / "index.json").read_text()).keys()
    head = json.loads((path / "state.json").read_text())
    assert (head["step"], head["spec"]["d_model"]) == (2, spec.d_model)


def test_the_newest_are_kept(tmp_path, state):
    for step in (8, 9, 10, 11):
        save_checkpoint(tmp_path, state, step=step, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_000010", "step_000011"]
    assert len(list(tmp_path.iterdir())) == 2


def test_one_that_is_spared_stays_however_many_are_newer(tmp_path, state):
    for step in range(8, 14):
        save_checkpoint(tmp_path, state, step=step, keep=2, spare=11 if step > 10 else None)
    names = ["step_000010", "step_000012", "step_000013"]
    assert [path.name for path in list_checkpoints(tmp_path)] == names


def test_order_is_by_step_and_foreign_names_are_ignored(tmp_path):
    for name in ("step_1000000", "step_999999", ".unfinished-step_5-x", "step_x", "notes"):
        (tmp_path / name).mkdir()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_999999", "step_1000000"]
    assert list_checkpoints(tmp_path / "nowhere") == []


@pytest.mark.parametrize("fatal", range(8))
def test_dying_at_any_write_leaves_the_previous_one(tmp_path, state, spec, monkeypatch, fatal):
    """Let the process end at the n-th call that makes things durable."""
    save_checkpoint(tmp_path, state, step=1, keep=1)
    saved = [tensor.clone() for tensor in values(state)]
    advance(state)
    calls = itertools.count()

    def sync(path):
        if next(calls) == fatal:
            raise KeyboardInterrupt

    monkeypatch.setattr("archspec.train.storage.sync", sync)
    monkeypatch.setattr("shutil.rmtree", lambda *args, **kwargs: None)  # as a dead process would
    died = False
    try:
        save_checkpoint(tmp_path, state, step=2, keep=1)
    except KeyboardInterrupt:
        died = True
    newest, other = list_checkpoints(tmp_path)[-1], new_state(spec)
    step = load_checkpoint(newest, other)
    assert step == 2 or died
    assert equal(values(other), saved if step == 1 else values(state))


def test_a_full_disk_is_a_clear_error(tmp_path, state, monkeypatch):
    save_checkpoint(tmp_path, state, step=1, keep=1)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("archspec.train.storage.save_file", full)
    with pytest.raises(RunError, match=r"step_000002: .*No space left.*earlier ones are intact"):
        save_checkpoint(tmp_path, state, step=2, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000001"]


def test_a_checkpoint_of_another_spec_names_what_differs(tmp_path, state, spec):
    path = save_checkpoint(tmp_path, state, step=2, keep=1)
    big = spec.pools["big"].model_copy(update={"num_keys": 9})
    other = spec.replace(pools={"big": big}, vocab_size=400)
    before = new_state(other)
    kept = [tensor.clone() for tensor in values(before)]
    with pytest.raises(RunError) as error:
        load_checkpoint(path, before)
    assert "vocab_size: 400 here, 320 there" in str(error.value)
    assert "pools.big.num_keys: 9 here, 8 there" in str(error.value)
    assert equal(values(before), kept)


def test_names_do_not_make_another_spec(tmp_path, state, spec):
    path = save_checkpoint(tmp_path, state, step=2, keep=1)
    load_checkpoint(path, new_state(spec.replace(name="other")))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [0, 5, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, state, spec, name, size):
    path = save_checkpoint(tmp_path, state, step=2, keep=1)
    content = (path / name).read_bytes()
    count = size if isinstance(size, int) else int(len(content) * size)
    (path / name).write_bytes(content[:count])
    with pytest.raises(RunError, match=name):
        load_checkpoint(path, new_state(spec))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("name", FILES)
def test_pickles_are_refused_unread(tmp_path, state, spec, name):
    path = save_checkpoint(tmp_path, state, step=2, keep=1)
    (path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(RunError, match=name):
        load_checkpoint(path, new_state(spec))


@pytest.mark.parametrize("name", FILES)
def test_missing_files_are_refused(tmp_path, state, spec, name):
    path = save_checkpoint(tmp_path, state, step=2, keep=1)
    (path / name).unlink()
    with pytest.raises(RunError, match=name):
        load_checkpoint(path, new_state(spec))


def rewrite(path, change):
    """Change the index and the shard alike."""
    tensors, index = load_file(path / SHARD), json.loads((path / "index.json").read_text())
    change(tensors, index)
    save_file(tensors, path / SHARD)
    (path / "index.json").write_text(json.dumps(index))


def test_tensors_that_do_not_fit_are_refused(tmp_path, state, spec):
    path = save_checkpoint(tmp_path, state, step=2, keep=1)
    first, second, *_ = sorted(load_file(path / SHARD))

    def change(tensors, index):
        tensors["stranger"] = tensors.pop(first)
        index["stranger"] = index.pop(first)
        index["stranger"]["chunks"][0]["key"] = "stranger"
        tensors[second] = tensors[second].double()
        index[second]["dtype"] = "F64"

    rewrite(path, change)
    with pytest.raises(RunError) as error:
        load_checkpoint(path, new_state(spec))
    message = str(error.value)
    assert "3 tensors do not fit" in message
    assert f"missing: {first}" in message
    assert "unexpected: stranger" in message
    assert f"{second} is float64" in message


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("dtype", "F63", r"index\.json: is damaged: KeyError\('F63'\)"),
        ("shape", [2, -3], r"index\.json: is damaged: .*cannot be negative"),
        ("chunks", [], "have 0 elements"),
        ("chunks", None, r"index\.json: is damaged"),
    ],
)
def test_an_index_that_makes_no_sense_is_refused(tmp_path, state, spec, key, value, expected):
    path = save_checkpoint(tmp_path, state, step=2, keep=1)
    rewrite(path, lambda _, index: index["model/norm.weight"].update({key: value}))
    with pytest.raises(RunError, match=expected):
        load_checkpoint(path, new_state(spec))


def test_an_index_that_points_elsewhere_reads_nothing_there(tmp_path, state, spec):
    path = save_checkpoint(tmp_path, state, step=2, keep=1)
    (tmp_path / "elsewhere.safetensors").write_bytes((path / SHARD).read_bytes())

    def change(_, index):
        index["model/norm.weight"]["chunks"][0]["file"] = "../elsewhere.safetensors"

    rewrite(path, change)
    with pytest.raises(RunError, match=r"step_000002/elsewhere\.safetensors: the file is missing"):
        load_checkpoint(path, new_state(spec))


def test_a_shard_unlike_its_index_changes_nothing(tmp_path, state, spec):
    path = save_checkpoint(tmp_path, state, step=2, keep=1)
    rewrite(path, lambda tensors, _: tensors.update({"model/norm.weight": torch.zeros(3)}))
    other = new_state(spec, seed=1)
    kept = [tensor.clone() for tensor in values(other)]
    with pytest.raises(RunError, match=r"model/norm\.weight is F32\[3\] and not F32\[16\]"):
        load_checkpoint(path, other)
    assert equal(values(other), kept)


@pytest.mark.parametrize("head", ["{}", '{"format": 1, "step": 1}', '{"format": 2, "step": "x"}'])
def test_other_formats_are_refused(tmp_path, state, spec, head):
    path = save_checkpoint(tmp_path, state, step=2, keep=1)
    (path / "state.json").write_text(head)
    with pytest.raises(RunError, match="no checkpoint of format 2"):
        load_checkpoint(path, new_state(spec))


def test_a_head_without_spec_is_refused(tmp_path, state, spec):
    path = save_checkpoint(tmp_path, state, step=2, keep=1)
    (path / "state.json").write_text('{"format": 2, "step": 1, "spec_hash": "x"}')
    with pytest.raises(RunError, match="no spec inside"):
        load_checkpoint(path, new_state(spec))


def test_a_background_save_holds_the_state_of_its_moment(tmp_path, state, spec):
    saver = BackgroundSaver(tmp_path, keep=1)
    before = [tensor.clone() for tensor in values(state)]
    path = saver.save(state, step=2)
    advance(state)  # while it may still be writing
    saver.wait()
    other = new_state(spec)
    assert load_checkpoint(path, other) == 2
    assert equal(values(other), before)


def test_background_saves_come_one_after_the_other(tmp_path, state):
    saver = BackgroundSaver(tmp_path, keep=2)
    for step in (1, 2, 3):
        saver.save(state, step=step)
    saver.wait()
    saver.wait()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_000002", "step_000003"]


def test_a_background_save_that_fails_says_so_at_the_next(tmp_path, state, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    saver = BackgroundSaver(tmp_path, keep=2)
    with monkeypatch.context() as patch:
        patch.setattr("archspec.train.storage.save_file", full)
        saver.save(state, step=1)
        with pytest.raises(RunError, match=r"step_000001: .*No space left"):
            saver.save(state, step=2)
    assert list(tmp_path.iterdir()) == []
    saver.save(state, step=3)
    saver.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["step_000003"]
