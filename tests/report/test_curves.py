import io
import struct

import pytest
from rich.console import Console

from archspec.errors import ArchspecError
from archspec.report.curves import curve_rows, curves_view, plot_curves
from archspec.train.curves import LearningCurve


def curve(name, slope, *, axis="tokens", count=200):
    points = [(1000.0 * n, 5.0 - slope * n / count) for n in range(1, count + 1)]
    return LearningCurve(name=name, metric="loss", axis=axis, points=points, smoothed=points)


def shown(curves, width=80):
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(curves_view(curves, width=width))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 160])
def test_curves_fit_the_terminal(width):
    lines = shown([curve("dense", 3), curve("memory", 4)], width)
    assert max(map(len, lines)) <= width


def test_each_curve_ends_in_its_letter_and_the_letters_are_explained():
    lines = shown([curve("dense", 2), curve("memory", 4), curve("again", 4)])
    plot, legend = lines[:17], lines[17:]
    ends = [line.rstrip()[-1:] for line in plot]
    assert ends.index("a") < ends.index("b")
    assert "c" in "".join(plot)
    for letter, name in (("a", "dense"), ("b", "memory"), ("c", "again")):
        assert any(line.split()[:2] == [letter, name] for line in legend)
    assert any("loss over tokens, 1.00 k to 200 k" in line for line in plot)


def test_two_curves_that_end_in_one_place_keep_their_letters():
    plot = shown([curve("one", 1), curve("two", 1)])[:16]
    assert "".join(plot).count("a") == "".join(plot).count("b") == 1


def test_rows_hold_every_point_as_it_was():
    header, *rows = curve_rows([curve("dense", 3, count=2)])
    assert header == ("run", "tokens", "loss")
    assert rows == [("dense", 1000.0, 3.5), ("dense", 2000.0, 2.0)]


@pytest.mark.parametrize("axis", ["tokens", "flops", "seconds"])
def test_a_picture_is_written(tmp_path, axis):
    file = tmp_path / "curves.png"
    plot_curves([curve("dense", 3, axis=axis), curve("memory", 4, axis=axis)], str(file))
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width > 1000 > height / 2 > 300


@pytest.mark.parametrize(
    ("file", "message"), [("c.pdf", "must end in .png or .svg"), ("no/c.png", "no such folder")]
)
def test_a_place_that_cannot_be_is_refused(tmp_path, file, message):
    with pytest.raises(ArchspecError, match=message):
        plot_curves([curve("dense", 3)], str(tmp_path / file))
