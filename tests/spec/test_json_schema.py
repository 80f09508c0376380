import json
import pathlib

import jsonschema
import pytest

from archspec.cli import main
from archspec.spec.compose import compose
from archspec.spec.documents import DOCUMENTS
from archspec.spec.json_schema import document_schema, schema_text
from archspec.testing.specs import random_document

SHIPPED = sorted(pathlib.Path("specs").rglob("*.yaml"))
VALIDATORS = {kind: jsonschema.Draft202012Validator(document_schema(kind)) for kind in DOCUMENTS}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_it_is_a_schema(kind):
    jsonschema.Draft202012Validator.check_schema(document_schema(kind))


@pytest.mark.parametrize("path", SHIPPED, ids=str)
def test_shipped_documents_are_valid_and_say_so_to_editors(path):
    document = compose(path).plain()
    VALIDATORS[document["kind"]].validate(document)
    assert path.read_text().startswith(
        f"# yaml-language-server: $schema=../schema/{document['kind']}.json\n"
    )


def test_random_documents_are_valid():
    for seed in range(200):
        VALIDATORS["model"].validate(random_document(seed))


def test_a_document_that_extends_may_leave_keys_out():
    document = {
        "archspec": 1,
        "kind": "model",
        "extends": "base.yaml",
        "blocks": {"ffn": {"hidden_dim": 4}},
        "layers": {"place": {"ffn": [1]}},
    }
    VALIDATORS["model"].validate(document)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATORS["model"].validate({**document, "d_modle": 3})


@pytest.mark.parametrize(
    "change",
    [
        {"d_model": "wide"},
        {"d_modle": 64},
        {"blocks": {"ffn": {"type": "dense", "hiden_dim": 4}}},
        {"blocks": {"ffn": {"hidden_dim": 4}}},
        {"layers": 5},
    ],
)
def test_mistakes_are_found(change):
    valid = random_document(0)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATORS["model"].validate({**valid, **change})


def test_every_key_is_described():
    def check(schema: object, path: str) -> None:
        if isinstance(schema, dict):
            for name, field in schema.get("properties", {}).items():
                described = isinstance(field, dict) and ("description" in field or "$ref" in field)
                assert described or name in ("kind", "task"), f"{path}.{name}"
            for name, value in schema.items():
                check(value, f"{path}.{name}")

    for kind in DOCUMENTS:
        check(document_schema(kind), kind)


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_shipped_schemas_are_fresh(kind):
    path = pathlib.Path(f"specs/schema/{kind}.json")
    assert path.read_text() == schema_text(kind), "run `make reference`"


def test_command(capsys, tmp_path):
    assert main(["schema", "train"]) == 0
    assert json.loads(capsys.readouterr().out) == document_schema("train")
    assert main(["schema", "--out", str(tmp_path)]) == 0
    assert {path.stem for path in tmp_path.iterdir()} == set(DOCUMENTS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["modle"], "unknown kind 'modle'; did you mean 'model'?"),
        ([], "which kind? known: "),
    ],
)
def test_unknown_kind(arguments, said, capsys):
    assert main(["schema", *arguments]) == 2
    assert said in capsys.readouterr().err
