"""``archspec tokenize``: make a token file of text, once for any number of runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from archspec.cli.command import Subparsers, add_json, console, declare, print_json
from archspec.errors import DataError

if TYPE_CHECKING:
    from archspec.spec.data.text import TextualSource

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


def add_parser(commands: Subparsers) -> None:
    """Declare the command."""
    parser = declare(
        commands,
        "tokenize",
        run,
        summary="make a token file of text, which any number of runs can map into memory",
        example=(
            "archspec tokenize corpus.jsonl --tokenizer tokenizer.json --out corpus.bin\n"
            "archspec tokenize 'books/*.txt' --out books.bin"
        ),
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="files or patterns, or a dataset with --format hf",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="token file to make")
    parser.add_argument(
        "--tokenizer",
        metavar="FILE",
        help="a tokenizer.json; without one, tokens are the bytes of the text",
    )
    parser.add_argument(
        "--eos-token",
        metavar="TOKEN",
        help="token of the tokenizer that ends a document (default: a usual one that it has)",
    )
    parser.add_argument(
        "--format",
        choices=["text", "jsonl", "parquet", "hf"],
        help="of the inputs (default: by suffix, text where that says nothing)",
    )
    parser.add_argument(
        "--field", metavar="NAME", help="key or column that holds the text (default: text)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the file and say what is in it."""
    from rich.console import Console

    from archspec.report.tokenize import TokenizeView, token_file_line
    from archspec.train.data.documents.registry import open_corpus
    from archspec.train.data.tokenize import as_notes, write_tokens
    from archspec.train.data.tokenizer import open_tokenizer

    tokenizer = open_tokenizer(arguments.tokenizer, arguments.eos_token)
    corpus = open_corpus(_source(arguments))
    with TokenizeView(Console(stderr=True, highlight=False)) as view:
        written = write_tokens(corpus, tokenizer, Path(arguments.out), progress=view.show)
    if arguments.json:
        print_json({"file": str(written.path), **as_notes(written)})
        return 0
    console().print(token_file_line(written), soft_wrap=True)
    return 0


def _source(arguments: argparse.Namespace) -> TextualSource:
    from archspec.spec.data.text import HfSource, JsonlSource, ParquetSource, TextSource

    inputs: list[str] = arguments.inputs
    form = arguments.format or _format(inputs)
    field = arguments.field or "text"
    if form == "text":
        if arguments.field is not None:
            raise DataError(
                f"--field {arguments.field} was given, but text files have no fields; leave it "
                "out, or say --format jsonl or parquet"
            )
        return TextSource(text=inputs[0] if len(inputs) == 1 else inputs)
    if form == "jsonl":
        return JsonlSource(jsonl=inputs, field=field)
    if form == "parquet":
        return ParquetSource(parquet=inputs, field=field)
    if len(inputs) > 1:
        raise DataError(f"--format hf takes one dataset, but {len(inputs)} were given")
    return HfSource(hf=inputs[0], field=field)


def _format(inputs: Sequence[str]) -> str:
    found = {FORMATS.get(Path(name).suffix, "text"): name for name in inputs}
    if len(found) > 1:
        (one, first), (other, second), *_ = found.items()
        raise DataError(
            f"all inputs must be of one format, but {first} is {one} and {second} is {other}; say "
            "which by --format, or make a file of each"
        )
    return next(iter(found))
