import math

import pytest

from archspec.errors import Place, SpecError
from archspec.spec.read import MAX_NODES, parse_tree, read_tree


def plain(text: str) -> object:
    return parse_tree(text, "f.yaml").plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2.5", -2.5),
        (".5", 0.5),
        ("no", "no"),
        ("on", "on"),
        ("True", True),
        ("2_000_000", 2_000_000),
        ("012", 12),
        ("0o17", 15),
        ("0xff", 255),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ("-.inf", -math.inf),
        ("1.05x", "1.05x"),
        ("1" * 50, "1" * 50),
    ],
)
def test_scalars_are_yaml_1_2(text, value):
    assert plain(f"a: {text}") == {"a": value}


def test_nan():
    assert math.isnan(plain("a: .nan")["a"])


def test_places_name_keys_and_items():
    root = parse_tree("a: 1\nb:\n  - x\n  - {c: 2}\n", "f.yaml")
    assert root.place_of(("a",)) == Place("f.yaml", 1, 1)
    assert root.place_of(("b", 0)) == Place("f.yaml", 3, 5)
    assert root.place_of(("b", 1, "c")) == Place("f.yaml", 4, 6)


def test_place_of_something_missing_is_its_nearest_parent():
    root = parse_tree("b:\n  - {c: 2}\n", "f.yaml")
    assert root.place_of(("b", 0, "missing", "deeper")) == root.place_of(("b", 0))


def test_aliases_repeat_values():
    assert plain("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


def test_aliases_count_towards_the_limit():
    items = ", ".join(["1"] * 999)
    text = f"a: &a [{items}]\nb: [{', '.join(['*a'] * (MAX_NODES // 1000 - 2))}]\n"
    assert len(plain(text)["b"]) == MAX_NODES // 1000 - 2
    with pytest.raises(SpecError, match="once aliases are expanded"):
        plain(f"{text}c: [*a, *a, *a]\n")


def test_all_duplicates_are_reported():
    with pytest.raises(SpecError) as error:
        plain("a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert len(error.value.problems) == 2


def test_byte_order_mark_and_line_ends(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read_tree(path).plain() == {"a": 1, "b": 2}
