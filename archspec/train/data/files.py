"""Sources of files, opened: token files as they are, text after it was made into tokens."""

from __future__ import annotations

from archspec.errors import DataError
from archspec.spec.data.files import FilesSource, as_tuple
from archspec.spec.data.text import TextualSource
from archspec.spec.data.tokens import TokensSource
from archspec.spec.model import ModelSpec
from archspec.spec.train import TrainSpec
from archspec.train.data.cache import cached_tokens
from archspec.train.data.documents.corpus import Corpus
from archspec.train.data.documents.registry import open_corpus, open_evaluation
from archspec.train.data.paths import find_files
from archspec.train.data.token_files import TokenFiles
from archspec.train.data.token_stream import TokenStream
from archspec.train.data.tokenize import corpus_hash, tokenize_in_memory
from archspec.train.data.tokenizer import Tokenizer, check_tokenizer, open_tokenizer
from archspec.train.data.windows import Windows


def open_tokens(source: TokensSource, train: TrainSpec, spec: ModelSpec) -> Windows:
    """Open token files. Raises DataError."""
    tokens = _token_files(source, source.paths)
    apart = source.evaluation
    measured = None if apart is None else _token_files(source, as_tuple(apart))
    return _windows(source, tokens, measured, train, spec)


def open_text(source: TextualSource, train: TrainSpec, spec: ModelSpec) -> Windows:
    """Open text of any format. Raises DataError."""
    tokenizer = open_tokenizer(source.tokenizer, source.eos_token)
    check_tokenizer(tokenizer, spec.vocab_size, source.name)
    tokens = _tokens_of(open_corpus(source), tokenizer, source)
    apart = open_evaluation(source)
    measured = None if apart is None else _tokens_of(apart, tokenizer, source)
    return _windows(source, tokens, measured, train, spec)


def _token_files(source: TokensSource, patterns: tuple[str, ...]) -> TokenFiles:
    tokens = TokenFiles(
        find_files(patterns),
        dtype=source.dtype,
        eos_id=source.eos_id,
        index_suffix=source.index_suffix,
    )
    if source.packing == "documents" and not tokens.bounded:
        raise DataError(
            f"{source.name}: `packing: documents` needs to know where documents end; give eos_id "
            "or index_suffix, or choose `packing: stream`"
        )
    return tokens


def _tokens_of(corpus: Corpus, tokenizer: Tokenizer, source: TextualSource) -> TokenStream:
    if corpus.in_memory:
        return tokenize_in_memory(corpus, tokenizer)
    tokens = TokenFiles([cached_tokens(corpus, tokenizer, getattr(source, "field", ""))])
    tokens.sha256 = corpus_hash(corpus, tokenizer)  # the same whether or not it fits into memory
    return tokens


def _windows(
    source: FilesSource,
    tokens: TokenStream,
    measured: TokenStream | None,
    train: TrainSpec,
    spec: ModelSpec,
) -> Windows:
    return Windows(
        source.name,
        tokens,
        apart=measured,
        held_out=source.held_out_share,
        separate=source.packing == "documents",
        seq_len=train.seq_len,
        vocab_size=spec.vocab_size,
        max_tokens=train.evaluation.text_tokens,
    )
