import pytest
import torch

from archspec.cost.measure_device import measure_matmul
from archspec.errors import ArchspecError
from archspec.spec.plan import PlanSpec
from archspec.train.speed import find_peak, peak_memory

CPU = torch.device("cpu")


def test_a_plans_device_gives_its_own_peak():
    peak = find_peak(PlanSpec(hardware="h100"), device=CPU)
    assert (peak.flops, peak.measured) == (989e12, False)
    assert "bfloat16" in peak.source


def test_a_device_without_a_rate_for_the_dtype_is_refused(tmp_path):
    document = tmp_path / "device.yaml"
    document.write_text(
        "archspec: 1\nkind: hardware\nname: d\nsource: made up\n"
        "peak_flops: {float32: 1 TFLOP/s}\nmemory_bandwidth: 1 TB/s\nmemory_bytes: 1 GB\n"
    )
    with pytest.raises(ArchspecError, match="gives no peak_flops for bfloat16"):
        find_peak(PlanSpec(hardware=str(document)), device=CPU)


def test_without_a_device_the_peak_is_measured_once():
    state = torch.get_rng_state()
    peak = find_peak(None, device=CPU)
    assert peak.measured
    assert 1e8 < peak.flops < 1e15
    assert find_peak(None, device=CPU) == peak
    assert torch.equal(torch.get_rng_state(), state)


def test_a_measurement_grows_with_what_is_used():
    assert measure_matmul("float32", size=64, runs=1) > 0
    before = peak_memory(CPU)
    block = torch.ones(2**27)  # 512 MiB
    assert peak_memory(CPU) >= before
    assert peak_memory(CPU) > block.nbytes
