import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from archspec.testing.servers import (
    MariaDB,
    Postgres,
    mariadb_server,
    postgres_server,
    redis_server,
    why_no_mariadb,
    why_no_postgres,
    why_no_redis,
)

MODEL = """\
archspec: 1
kind: model
name: mini
vocab_size: 50
max_seq_len: 32
d_model: 16
attention: {num_heads: 2}
pools:
  big: {num_keys: 16, value_dim: 16}
blocks:
  ffn: {type: dense, hidden_dim: 40}
  experts: {type: moe, num_experts: 4, top_k: 2, hidden_dim: 24}
  private: {type: memory, num_keys: 12, value_dim: 16, num_heads: 2, top_k: 4, key_dim: 8}
  shared: {type: shared_pool, pool: big, num_heads: 2, top_k: 4, key_dim: 6}
layers: {num_layers: 5, default: ffn, place: {shared: [3]}}
"""
TRAIN = """\
archspec: 1
kind: train
seq_len: 16
batch_tokens: 64
tokens: 640
data: [{task: facts, num_facts: 64, num_objects: 8}]
"""
SEARCH = """\
archspec: 1
kind: search
base: model.yaml
vary:
  layers: {choices: [ffn, experts, private, shared], fixed: {0: ffn}}
  pools.big.num_keys: [8, 16]
budgets: {flops_per_token: {max: 1.02x}, device_bytes: {max: 1.2x}}
objective: {train: train.yaml, metric: facts.nll}
trials: 12
finalists: 2
seed: 3
"""


@pytest.fixture
def search_file(tmp_path: Path) -> Path:
    """A small search with the documents it names."""
    (tmp_path / "model.yaml").write_text(MODEL)
    (tmp_path / "train.yaml").write_text(TRAIN)
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH)
    return path


def _skip_without_server(missing: str | None) -> None:
    if missing is None:
        return
    if os.environ.get("ARCHSPEC_SERVERS") == "required":  # .ci/run has installed them
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    _skip_without_server(why_no_postgres())
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A MariaDB server."""
    _skip_without_server(why_no_mariadb())
    with mariadb_server() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    """The URL of a Redis server; one database holds the journal of one test."""
    _skip_without_server(why_no_redis())
    with redis_server() as url:
        yield url


@pytest.fixture
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """Where the study of a test is; by parameter journal, sqlite, postgresql, mysql or redis."""
    match getattr(request, "param", "journal"):
        case "sqlite":
            return f"sqlite:///{tmp_path / 'study.db'}"
        case "postgresql":
            postgres: Postgres = request.getfixturevalue("postgres")
            return postgres.url(f"test_{secrets.token_hex(4)}")
        case "mysql":
            mariadb: MariaDB = request.getfixturevalue("mariadb")
            return mariadb.url(f"test_{secrets.token_hex(4)}")
        case "redis":
            return f"{request.getfixturevalue('redis')}/{secrets.randbelow(16)}"
    return None
