"""What CPU kernels need of the processor and numba has no word for.

numba's cache notices a change in the file of a kernel, but not one here: ``make clean`` after it.
"""

from __future__ import annotations

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16  # of count_before: one vector register on the widest machines, several on others

_LINE_BYTES = 64
_MOST_BYTES = 4096  # of a row: the processor goes on by itself
_AHEAD_BYTES = 8192  # of each table: enough under way, and little enough for the cache
_BYTES, _INT32 = cgutils.voidptr_t, ir.IntType(32)


# Rows of a table lie anywhere in memory, and a processor guesses well where a row goes on, but not
# where the next one begins. Asking for it some rows ahead hides most of the wait.


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
        address = builder.bitcast(_data(context, builder, signature, arguments, 0), _BYTES)
        address = builder.gep(address, [arguments[1]])
        kind = ir.FunctionType(ir.VoidType(), [address.type, _INT32, _INT32, _INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # To be read, and kept in all caches, as data.
        builder.call(function, [address, _INT32(0), _INT32(3), _INT32(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def count_before(_typing_context, scores, ids, first, score, this):  # noqa: ARG001 (types)
    """Count those of ``LANES`` elements from ``first`` that rank before (score, this).

    That is, scores above ``score``, and those equal to it with an id below ``this``. Scores are
    fp32, ids int32, both contiguous and long enough.
    """

    def generate(context, builder, signature, arguments):
        def load(place, kind):
            data = builder.gep(_data(context, builder, signature, arguments, place), [arguments[2]])
            lanes = builder.load(builder.bitcast(data, ir.VectorType(kind, LANES).as_pointer()))
            lanes.align = 4
            return lanes

        def spread(value):
            none = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
            zeros = ir.Constant(ir.VectorType(_INT32, LANES), [_INT32(0)] * LANES)
            return builder.shuffle_vector(
                builder.insert_element(none, value, _INT32(0)), none, zeros
            )

        others, limit = load(0, ir.FloatType()), spread(arguments[3])
        is_above = builder.fcmp_ordered(">", others, limit)
        is_equal = builder.fcmp_ordered("==", others, limit)
        is_lower = builder.icmp_signed("<", load(1, _INT32), spread(arguments[4]))
        is_before = builder.or_(is_above, builder.and_(is_equal, is_lower))
        bits = builder.bitcast(is_before, ir.IntType(LANES))
        return builder.zext(builder.ctpop(bits), ir.IntType(64))

    return types.int64(scores, ids, types.intp, types.float32, types.int32), generate


def _data(context, builder, signature, arguments, place):
    """Return the address of the first element of an array argument."""
    return context.make_array(signature.args[place])(context, builder, arguments[place]).data
