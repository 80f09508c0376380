"""A study as records in Redis, under the keys of Optuna's own journal, so that both read the same.

Optuna's backend pickles a snapshot every hundred trials and unpickles what it finds, which would
run the code of whoever can write there; it asks for records one by one, and waits for ever for one
that Redis lost. This one has no snapshots, asks for many at once, and says what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from optuna.storages.journal._base import BaseJournalBackend

from archspec.errors import RunError

_NEWEST = ":log_number"  # the number of the newest record
_BATCH = 1000
_TIMEOUT = 30.0  # seconds for an answer, after which the server counts as away
# In one step, so that no reader sees a number without its record.
_APPEND = """
local number = redis.call('incr', KEYS[1])
redis.call('set', ':log:' .. string.format('%d', number), ARGV[1])
"""


class RedisJournal(BaseJournalBackend):
    """The records of a journal in one database of a Redis server.

    Args:
        url: ``redis://...`` or ``rediss://...``.
        name: Of the storage, for messages; without password.
    """

    def __init__(self, url: str, name: str) -> None:
        import redis

        self._name = name
        self._redis = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT
        )

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yield the records from a number on, oldest first.

        Raises:
            RunError: Records that were there are gone, or one is damaged.
        """
        newest = self._redis.get(_NEWEST)
        end = 0 if newest is None else int(newest) + 1
        if end < log_number_from:
            raise RunError(
                f"{self._name}: has {end} records, but had {log_number_from}; it was emptied, or "
                "restarted without appendonly: put back its data"
            )
        for start in range(log_number_from, end, _BATCH):
            numbers = range(start, min(start + _BATCH, end))
            records = self._redis.mget([f":log:{number}" for number in numbers])
            for number, record in zip(numbers, records, strict=True):
                yield self._parsed(number, record)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add records; how soon they are on a disk is up to the server."""
        self._redis.setnx(_NEWEST, -1)
        for log in logs:
            self._redis.eval(_APPEND, 1, _NEWEST, json.dumps(log))

    def close(self) -> None:
        """Let go of the connections."""
        self._redis.close()

    def _parsed(self, number: int, record: bytes | str | None) -> dict[str, Any]:
        if record is None:
            raise RunError(
                f"{self._name}: record {number} is gone; a server that holds studies must not "
                "evict keys (maxmemory-policy noeviction)"
            )
        try:
            found = json.loads(record)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RunError(f"{self._name}: record {number} is damaged: {record[:40]!r}")
        return found
