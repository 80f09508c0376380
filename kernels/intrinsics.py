"""What CPU kernels need of the processor and numba has no word for.

numba's cache notices a change in the file of a kernel, but not one here: ``make clean`` after it.
"""

from __future__ import annotations

import math
from contextlib import contextmanager

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16  # fp32 elements: one vector register on the widest machines, several on others
TILE_ROWS = 8  # with TILE_COLUMNS, sums that fit the 32 registers of AVX-512 and hide their delay
TILE_COLUMNS = 2 * LANES

_LINE_BYTES = 64
_MOST_BYTES = 4096  # of a row: the processor goes on by itself
_AHEAD_BYTES = 8192  # of each table: enough under way, and little enough for the cache
_BYTES, _INT32 = cgutils.voidptr_t, ir.IntType(32)
_LANES = ir.VectorType(ir.FloatType(), LANES)


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
def count_above(_typing_context, scores, first, count, counts):  # noqa: ARG001 (types)
    """Write how many of the first ``count`` scores are above each of ``LANES`` from ``first``.

    Scores are fp32, counts int32, both contiguous and long enough for ``LANES`` elements there; of
    lanes behind ``count`` the numbers mean nothing.
    """

    def generate(context, builder, signature, arguments):
        first, count = arguments[1], arguments[2]
        data = _data(context, builder, signature, arguments, 0)
        place = builder.gep(data, [first])
        lanes = builder.load(builder.bitcast(place, _LANES.as_pointer()), align=4)
        kind = ir.VectorType(_INT32, LANES)
        total = cgutils.alloca_once_value(builder, ir.Constant(kind, [0] * LANES))  # a register
        with cgutils.for_range(builder, count, intp=first.type) as loop:
            other = _spread(builder, builder.load(builder.gep(data, [loop.index])))
            is_above = builder.zext(builder.fcmp_ordered(">", other, lanes), kind)
            builder.store(builder.add(builder.load(total), is_above), total)
        target = builder.gep(_data(context, builder, signature, arguments, 3), [first])
        target = builder.bitcast(target, kind.as_pointer())
        builder.store(builder.load(total), target, align=4)
        return context.get_dummy_value()

    return types.void(scores, types.intp, types.intp, counts), generate


@intrinsic
def multiply_tile(_typing_context, a, a_first, a_row, a_step, b, depth, c, c_first, c_row, adds):  # noqa: ARG001 (types)
    """Set, or where it ``adds`` increase, ``TILE_ROWS x TILE_COLUMNS`` elements of c by a @ b.

    All fp32, ``b`` being [depth, TILE_COLUMNS] and contiguous. Element (r, k) of ``a`` stands at
    ``a_first + r * a_row + k * a_step`` of a flat array, element (r, j) of ``c`` at ``c_first + r *
    c_row + j``. The sums stay in registers over the whole depth.
    """

    def generate(context, builder, signature, arguments):
        a_start, a_row, a_step, depth, c_start, c_row, adds = (arguments[i] for i in _TILE_NUMBERS)
        a, b, c = (_data(context, builder, signature, arguments, place) for place in (0, 4, 6))
        a, c, index = builder.gep(a, [a_start]), builder.gep(c, [c_start]), a_start.type
        places = [(row, left) for row in range(TILE_ROWS) for left in range(0, TILE_COLUMNS, LANES)]
        sums = {place: cgutils.alloca_once(builder, _LANES) for place in places}  # registers later

        def at(base, offset):
            return builder.bitcast(builder.gep(base, [offset]), _LANES.as_pointer())

        def target(row, left):
            return at(c, builder.add(builder.mul(c_row, index(row)), index(left)))

        with builder.if_else(adds) as (old, new):
            with old:
                for place in places:
                    builder.store(builder.load(target(*place), align=4), sums[place])
            with new:
                for place in places:
                    builder.store(ir.Constant(_LANES, [0.0] * LANES), sums[place])
        with cgutils.for_range(builder, depth, intp=index) as loop:
            first = builder.mul(loop.index, index(TILE_COLUMNS))
            rights = {
                left: builder.load(at(b, builder.add(first, index(left))), align=4)
                for left in range(0, TILE_COLUMNS, LANES)
            }
            step = builder.mul(loop.index, a_step)
            for row in range(TILE_ROWS):
                here = builder.add(builder.mul(a_row, index(row)), step)
                factor = _spread(builder, builder.load(builder.gep(a, [here])))
                for left, right in rights.items():
                    before = builder.load(sums[row, left])
                    builder.store(_fma(builder, factor, right, before), sums[row, left])
        for place in places:
            builder.store(builder.load(sums[place]), target(*place), align=4)
        return context.get_dummy_value()

    size = types.intp
    return (
        types.void(a, size, size, size, b, size, c, size, size, types.boolean),
        generate,
    )


@intrinsic
def largest_of(_typing_context, array, first, count):  # noqa: ARG001 (types)
    """Return the largest of ``count`` elements of a flat fp32 array, a whole number of ``LANES``.

    What is not a number is passed over; with nothing else there it is minus infinity.
    """

    def generate(context, builder, signature, arguments):
        data = builder.gep(_data(context, builder, signature, arguments, 0), [arguments[1]])
        best = cgutils.alloca_once_value(builder, ir.Constant(_LANES, [float("-inf")] * LANES))
        with _each_vector(builder, data, arguments[2]) as at:
            found, before = builder.load(at, align=4), builder.load(best)
            is_above = builder.fcmp_ordered(">", found, before)
            builder.store(builder.select(is_above, found, before), best)
        return _reduce(builder, "fmax", builder.load(best))

    return types.float32(array, types.intp, types.intp), generate


@intrinsic
def exponentiate(_typing_context, array, first, count, factor, shift):  # noqa: ARG001 (types)
    """Replace elements x of a flat fp32 array by ``exp(factor * x - shift)``; return their sum.

    Within 2 units in the last place; what is below the normal numbers becomes some 1e-38. There are
    ``count`` elements, a whole number of ``LANES``.
    """

    def generate(context, builder, signature, arguments):
        data = builder.gep(_data(context, builder, signature, arguments, 0), [arguments[1]])
        factor = _spread(builder, arguments[3])
        shift = _spread(builder, builder.fneg(arguments[4]))
        total = cgutils.alloca_once_value(builder, ir.Constant(_LANES, [0.0] * LANES))
        with _each_vector(builder, data, arguments[2]) as at:
            found = _exp(builder, _fma(builder, builder.load(at, align=4), factor, shift))
            builder.store(found, at, align=4)
            builder.store(builder.fadd(builder.load(total), found), total)
        return _reduce(builder, "fadd", builder.load(total))

    single = types.float32
    return single(array, types.intp, types.intp, single, single), generate


# exp(x) = 2^n * exp(r), where r = x - n * ln 2 is at most ln 2 / 2 from 0: in Taylor's series, the
# first term left out is r^8 / 8! < 6e-9. Of the two parts of ln 2, n times the first one is exact.
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.693359375, -2.12194440e-4
_LEAST_EXPONENT = -87.33  # 2^-126 is the least normal number


def _exp(builder, x):
    """Return the exponentials of a vector; not a number where x is not."""
    is_less = builder.fcmp_ordered("<", x, _lanes(_LEAST_EXPONENT))
    x = builder.select(is_less, _lanes(_LEAST_EXPONENT), x)
    kind = ir.FunctionType(_LANES, [_LANES])
    rounded = cgutils.get_or_insert_function(builder.module, kind, f"llvm.rint.v{LANES}f32")
    power = builder.call(rounded, [builder.fmul(x, _lanes(_LOG2_E))])
    rest = _fma(builder, power, _lanes(-_LN2_HIGH), x)
    rest = _fma(builder, power, _lanes(-_LN2_LOW), rest)
    result = _lanes(1 / math.factorial(7))
    for degree in reversed(range(7)):
        result = _fma(builder, result, rest, _lanes(1 / math.factorial(degree)))
    integers = ir.VectorType(_INT32, LANES)
    biased = builder.add(builder.fptosi(power, integers), ir.Constant(integers, [127] * LANES))
    bits = builder.shl(biased, ir.Constant(integers, [23] * LANES))
    return builder.fmul(result, builder.bitcast(bits, _LANES))


@contextmanager
def _each_vector(builder, data, count):
    """Loop over the vectors of ``count`` fp32 elements: what is built within gets the address."""
    index = count.type
    with cgutils.for_range(builder, builder.udiv(count, index(LANES)), intp=index) as loop:
        place = builder.gep(data, [builder.mul(loop.index, index(LANES))])
        yield builder.bitcast(place, _LANES.as_pointer())


def _reduce(builder, by, lanes):
    """Return the sum (fadd) or the largest (fmax) of a vector."""
    single = ir.FloatType()
    starts = [single(0.0)] if by == "fadd" else []
    kind = ir.FunctionType(single, [*(start.type for start in starts), _LANES])
    name = f"llvm.vector.reduce.{by}.v{LANES}f32"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [*starts, lanes], fastmath=("reassoc",))


def _lanes(value):
    return ir.Constant(_LANES, [float(np.float32(value))] * LANES)


_TILE_NUMBERS = (1, 2, 3, 5, 7, 8, 9)  # those arguments of multiply_tile that are no arrays


def _fma(builder, one, other, added):
    kind = ir.FunctionType(_LANES, [_LANES] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32")
    return builder.call(function, [one, other, added])


def _spread(builder, value):
    """Return a vector of ``LANES`` times this value."""
    none = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    zeros = ir.Constant(ir.VectorType(_INT32, LANES), [_INT32(0)] * LANES)
    return builder.shuffle_vector(builder.insert_element(none, value, _INT32(0)), none, zeros)


def _data(context, builder, signature, arguments, place):
    """Return the address of the first element of an array argument."""
    return context.make_array(signature.args[place])(context, builder, arguments[place]).data
