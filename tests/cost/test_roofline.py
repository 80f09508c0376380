import pytest

from archspec.cost.estimates import Setting, estimate
from archspec.cost.roofline import roofline
from archspec.cost.training import OPTIMIZERS
from archspec.cost.work import PartWork, Work
from archspec.errors import ArchspecError
from archspec.spec.hardware import bundled_hardware
from archspec.spec.load import load_hardware, load_model

H100 = load_hardware("h100")
DENSE = load_model("specs/models/dense_1.3b.yaml")
MEMORY_PLUS = load_model("specs/models/memory_plus_1.3b_16m.yaml")

# FACTS: dense bf16 TFLOP/s, TB/s, GB; MI300X: 304 compute units x 2048 a clock x 2.1 GHz.
DEVICES = {
    "a100": (312e12, 2.039e12, 80e9),
    "h100": (989e12, 3.35e12, 80e9),
    "h200": (989e12, 4.8e12, 141e9),
    "b200": (2250e12, 8e12, 180e9),
    "mi300x": (1307.4e12, 5.3e12, 192e9),
}


@pytest.mark.parametrize("name", DEVICES)
def test_bundled_devices_have_dense_figures(name):
    device = load_hardware(name)
    assert (device.flops("bfloat16"), device.memory_bandwidth, device.memory_bytes) == DEVICES[name]


def test_every_bundled_device_is_tested():
    assert bundled_hardware().keys() == DEVICES.keys()


def test_an_unknown_device_is_refused_with_a_near_name():
    with pytest.raises(ArchspecError, match="did you mean 'h100'"):
        load_hardware("h1000")


def test_a_missing_rate_is_refused():
    with pytest.raises(ArchspecError, match="no peak_flops for float4"):
        H100.flops("float4")


def test_the_longer_of_computing_and_moving():
    parts = [
        PartWork(name="layer", index=0, work=Work(flops=989e12, weight_bytes=1e9)),
        PartWork(
            name="layer", index=1, work=Work(flops=1e9, kv_bytes=3.35e12, table_bytes=3.35e12)
        ),
    ]
    timing = roofline(parts, H100, tokens=6, useful_flops=989e12)
    assert [(part.seconds, part.bound) for part in timing.parts] == [(1, "compute"), (2, "memory")]
    assert timing.seconds == 3
    assert timing.tokens_per_second == 2
    assert timing.mfu == pytest.approx(1 / 3)
    assert timing.bound == "memory"


def test_training_a_dense_model_computes_and_decoding_it_reads():
    found = estimate(DENSE, Setting(batch=8), H100)
    assert (found.step.bound, found.decode.bound) == ("compute", "memory")
    assert 0.9 < found.step.mfu <= 1
    layer = next(part for part in found.step.parts if part.index == 0)
    forward = 2 * (4 * 2048**2 + 3 * 2048 * 5632) + 2 * 4096 * 2048
    assert layer.seconds == pytest.approx(3 * 8 * 4096 * forward / 989e12)


def test_full_recompute_costs_time_but_no_useful_flops():
    plain, full = (
        estimate(DENSE, Setting(batch=4, recompute=mode), H100) for mode in ("none", "full")
    )
    assert full.step.seconds > plain.step.seconds
    assert full.step.mfu < plain.step.mfu
    assert full.training.total < plain.training.total


def test_updating_all_rows_of_a_large_table_dominates_a_step():
    adamw, rows = (
        estimate(MEMORY_PLUS, Setting(batch=1, tables=OPTIMIZERS[name]), H100)
        for name in ("adamw", "row_adam")
    )
    assert adamw.step.parts[-1].seconds > adamw.step.seconds / 2
    assert rows.step.seconds < adamw.step.seconds / 2


def test_a_memory_reader_is_bound_by_memory():
    found = estimate(MEMORY_PLUS, Setting(batch=8), H100)
    bounds = {part.index: part.bound for part in found.step.parts if part.name == "layer"}
    assert {index for index, bound in bounds.items() if bound == "memory"} == {3, 11, 19}


def test_without_a_device_there_are_bytes_and_no_times():
    found = estimate(DENSE, Setting())
    assert (found.step, found.prefill, found.decode, found.fits) == (None, None, None, None)
    assert found.training.total > 18 * 1_261_529_088


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (Setting(batch=0), "batch must be at least 1"),
        (Setting(length=5000), "max_seq_len=4096"),
        (Setting(dtype="float3"), "dtype must be one of"),
    ],
)
def test_settings_that_cannot_be(setting, message):
    with pytest.raises(ValueError, match=message):
        estimate(DENSE, setting)
