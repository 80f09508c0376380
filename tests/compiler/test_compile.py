"""From a spec to a model that runs."""

from pathlib import Path

import pytest
import torch
import yaml

import archspec
from archspec.compiler.compile import compile
from archspec.errors import ArchspecError, SpecError
from archspec.model.norm import RMSNorm
from archspec.testing.specs import random_document, random_spec

SPEC = random_spec(5)
MODELS = Path(archspec.__file__).parent / "specs" / "models"


def test_the_same_seed_gives_the_same_model():
    first, second = compile(SPEC, seed=7), compile(SPEC, seed=7)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_another_seed_gives_another_model():
    first, second = compile(SPEC, seed=0), compile(SPEC, seed=1)
    for name, value in first.state_dict().items():
        if value.unique().numel() > 1:  # not a constant start
            assert not torch.equal(value, second.state_dict()[name]), name


def test_values_do_not_depend_on_the_dtype():
    exact, rounded = compile(SPEC, dtype="float64"), compile(SPEC, dtype="bfloat16")
    for name, value in exact.state_dict().items():
        assert torch.equal(value.bfloat16(), rounded.state_dict()[name]), name


def test_compiling_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    compile(SPEC)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", range(8))
def test_two_models_in_one_process_share_nothing(seed):
    spec = random_spec(seed)
    first, second = compile(spec), compile(spec)
    storages = [{p.untyped_storage().data_ptr() for p in m.parameters()} for m in (first, second)]
    assert not storages[0] & storages[1]
    modules = [set(map(id, m.modules())) for m in (first, second)]
    assert not modules[0] & modules[1]
    tokens = torch.zeros(1, spec.max_seq_len, dtype=torch.long)
    before = first(tokens)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.fill_(torch.nan)
    assert torch.equal(first(tokens), before)


def test_meta_takes_no_memory_and_no_time():
    model = compile(MODELS / "memory_plus_1.3b_16m.yaml", device="meta")
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert model.pools.values.weight.shape == (4096**2, 2048)


def test_takes_a_path(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(random_document(5)))
    for given in (path, str(path)):
        model = archspec.compile(given)
        assert model.state_dict().keys() == compile(SPEC).state_dict().keys()


def test_a_missing_file_is_one_clear_message(tmp_path):
    with pytest.raises(SpecError, match=r"missing\.yaml"):
        compile(tmp_path / "missing.yaml")


def test_an_unknown_dtype_is_named():
    with pytest.raises(ArchspecError, match="unknown dtype 'float23'; did you mean 'float32'"):
        compile(SPEC, dtype="float23")


def test_a_parameter_without_initialiser_fails_the_build(monkeypatch):
    monkeypatch.setattr(RMSNorm, "initialisers", lambda self: {})
    with pytest.raises(ArchspecError, match="has none"):
        compile(SPEC, device="meta")
