"""Prefetching for CPU kernels: a request for memory that does not wait for it.

Rows of a table lie anywhere in memory, and a processor guesses well where a row goes on, but not
where the next one begins. Asking for it some rows ahead hides most of the wait.
"""

from __future__ import annotations

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_LINE_BYTES = 64
_MOST_BYTES = 4096  # of a row: the processor goes on by itself
_AHEAD_BYTES = 8192  # of each table: enough under way, and little enough for the cache


@njit
def rows_ahead(row_bytes):
    """Return how many rows before its use a row of this size is best asked for, from 1 to 16."""
    return max(1, min(16, _AHEAD_BYTES // max(1, row_bytes)))


@njit
def prefetch_row(table, row, row_bytes):
    """Ask for a row of a contiguous table; the number of the row is not checked."""
    first = row * row_bytes
    for offset in range(first, first + min(row_bytes, _MOST_BYTES), _LINE_BYTES):
        _prefetch(table, offset)


@intrinsic
def _prefetch(_typing_context, array, offset):  # noqa: ARG001 (numba passes types here)
    """Ask for the line that holds the byte at this offset of a contiguous array."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.gep(builder.bitcast(data, cgutils.voidptr_t), [arguments[1]])
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # To be read, and kept in all caches, as data.
        builder.call(function, [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate
