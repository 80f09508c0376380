import json

import pytest

from archspec.cli import main
from archspec.report.hardware import hardware_yaml
from archspec.spec.hardware import HardwareSpec, bundled_hardware
from archspec.spec.load import load, load_hardware


def test_list(capsys):
    assert main(["hardware"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in bundled_hardware())


def test_one(capsys):
    assert main(["hardware", "h100"]) == 0
    out = capsys.readouterr().out
    assert "989 TFLOP/s, 295 FLOPs per byte" in out
    assert "source: " in out


def test_json(capsys):
    assert main(["hardware", "b200", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["peak_flops"]["bfloat16"] == 2.25e15
    assert main(["hardware", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == bundled_hardware().keys()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mi300"], "did you mean 'mi300x'?"),
        (["--measure", "h100"], "leave out 'h100'"),
        (["--out", "x.yaml"], "--out goes with --measure"),
    ],
)
def test_mistakes(arguments, words, capsys):
    assert main(["hardware", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", bundled_hardware())
def test_a_device_written_out_loads_again(name, tmp_path):
    device = load_hardware(name)
    file = tmp_path / "device.yaml"
    file.write_text(hardware_yaml(device))
    assert load(file) == device


def test_measure_writes_a_document(tmp_path, monkeypatch):
    monkeypatch.setattr("archspec.cost.measure_device._SIZE", 64)
    monkeypatch.setattr("archspec.cost.measure_device._COPY_ELEMENTS", 2**16)
    file = tmp_path / "cpu.yaml"
    assert main(["hardware", "--measure", "--out", str(file)]) == 0
    device = load_hardware(file)
    assert isinstance(device, HardwareSpec)
    assert device.peak_flops.known.keys() == {"float32", "bfloat16"}
    assert "measured by" in device.source


def test_measure_into_nowhere(tmp_path, monkeypatch, capsys):
    device = load_hardware("h100")
    monkeypatch.setattr("archspec.cost.measure_device.measure_device", lambda: device)
    assert main(["hardware", "--measure", "--out", str(tmp_path / "no" / "x.yaml")]) == 2
    assert "--out: " in capsys.readouterr().err
