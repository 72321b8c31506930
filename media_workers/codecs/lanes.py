"""Eight numbers at once, where a compiler does not find them: the inner loops of G.722, which are most of its cost."""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from shm.jit import IS_COMPILED

LANES = 8
LARGEST = 32767
LEVELS, TAPS = 30, 24


@intrinsic
def move_zeros(typing_context, zeros, differences, newest):
    """UPZERO, DELAYA and FILTEZ of G.722 on int32[8] each: six zeros and the last six quantised differences, then two that are unused.

    Moves the zeros by the sign of `newest` against each difference, shifts it in, and returns the sum of their products.
    """
    for array in (zeros, differences):
        if not (isinstance(array, types.Array) and array.dtype == types.int32 and array.ndim == 1 and array.layout == "C"):
            return None

    def generate(context, builder, signature, arguments):
        vector, word = ir.VectorType(ir.IntType(32), LANES), ir.IntType(32)

        def all_of(value):
            return ir.Constant(vector, [value] * LANES)

        def pointer(index):
            view = context.make_array(signature.args[index])(context, builder, arguments[index])
            return builder.bitcast(view.data, vector.as_pointer())

        def limit(value):
            value = builder.select(builder.icmp_signed("<", value, all_of(-LARGEST - 1)), all_of(-LARGEST - 1), value)
            return builder.select(builder.icmp_signed(">", value, all_of(LARGEST)), all_of(LARGEST), value)

        def picked(one, other, lanes):
            return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(word, LANES), lanes))

        fifteen, zero_at, difference_at = all_of(15), pointer(0), pointer(1)
        newest = context.cast(builder, arguments[2], signature.args[2], types.int32)
        first = builder.insert_element(all_of(0), newest, word(0))
        before, splat = builder.load(difference_at, align=4), picked(first, first, [0] * LANES)
        step = builder.select(builder.icmp_signed("==", splat, all_of(0)), all_of(0), all_of(128))
        sign = builder.ashr(builder.xor(before, splat), all_of(31))
        signed_step = builder.sub(builder.xor(step, sign), sign)
        leaked = builder.ashr(builder.mul(builder.load(zero_at, align=4), all_of(32640)), fifteen)
        moved = limit(builder.add(signed_step, leaked))
        after = picked(before, first, [8, 0, 1, 2, 3, 4, 9, 9])
        total = builder.ashr(builder.mul(moved, limit(builder.add(after, after))), fifteen)
        for half in (4, 2, 1):
            total = builder.add(total, picked(total, total, [(lane + half) % LANES for lane in range(LANES)]))
        builder.store(moved, zero_at, align=4)
        builder.store(after, difference_at, align=4)
        return builder.sext(builder.extract_element(total, word(0)), ir.IntType(64))

    return types.int64(zeros, differences, newest), generate


@intrinsic
def count_reached(typing_context, levels, scale, value):
    """Of the first thirty of `levels`, int32[32], how many times `scale`, by 4096, are not above `value`. All are compared at once:
    a search would guess branches, and half of them wrongly."""
    if not (isinstance(levels, types.Array) and levels.dtype == types.int32 and levels.ndim == 1 and levels.layout == "C"):
        return None

    def generate(context, builder, signature, arguments):
        word = ir.IntType(32)
        vector = ir.VectorType(word, 32)
        view = context.make_array(signature.args[0])(context, builder, arguments[0])

        def everywhere(index):
            number = context.cast(builder, arguments[index], signature.args[index], types.int32)
            first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, word(0))
            return builder.shuffle_vector(first, first, ir.Constant(vector, [0] * 32))

        scaled = builder.mul(builder.load(builder.bitcast(view.data, vector.as_pointer()), align=4), everywhere(1))
        reached = builder.icmp_signed("<=", builder.ashr(scaled, ir.Constant(vector, [12] * 32)), everywhere(2))
        bits = builder.and_(builder.bitcast(reached, word), word((1 << LEVELS) - 1))
        return builder.zext(builder.ctpop(bits), ir.IntType(64))

    return types.int64(levels, scale, value), generate


@intrinsic
def filter_line(typing_context, line, coefficients, first, second):
    """Shift two samples into `line`, int32[24]; the products with `coefficients`, int32[24], summed: of even places, and of odd ones."""
    for array in (line, coefficients):
        if not (isinstance(array, types.Array) and array.dtype == types.int32 and array.ndim == 1 and array.layout == "C"):
            return None

    def generate(context, builder, signature, arguments):
        word = ir.IntType(32)
        vector = ir.VectorType(word, TAPS)

        def pointer(index):
            view = context.make_array(signature.args[index])(context, builder, arguments[index])
            return builder.bitcast(view.data, vector.as_pointer())

        def picked(one, other, lanes):
            return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(word, len(lanes)), list(lanes)))

        samples = ir.Constant(vector, [0] * TAPS)
        for place, index in enumerate((2, 3)):
            sample = context.cast(builder, arguments[index], signature.args[index], types.int32)
            samples = builder.insert_element(samples, sample, word(place))
        shifted = picked(builder.load(pointer(0), align=4), samples, [*range(2, TAPS), TAPS, TAPS + 1])
        builder.store(shifted, pointer(0), align=4)
        total = builder.mul(shifted, builder.load(pointer(1), align=4))
        for half in (12, 6):
            total = builder.add(picked(total, total, range(half)), picked(total, total, range(half, 2 * half)))
        lanes = [builder.extract_element(total, word(lane)) for lane in range(6)]
        sums = [builder.add(builder.add(lanes[place], lanes[place + 2]), lanes[place + 4]) for place in (0, 1)]
        return context.make_tuple(builder, signature.return_type, [builder.sext(total, ir.IntType(64)) for total in sums])

    return types.UniTuple(types.int64, 2)(line, coefficients, first, second), generate


def _filter_line(line, coefficients, first, second):
    line[:-2] = line[2:].copy()
    line[-2:] = first, second
    products = [int(sample) * int(tap) for sample, tap in zip(line, coefficients, strict=True)]
    return sum(products[0::2]), sum(products[1::2])


def _count_reached(levels, scale, value):
    return sum(int(level) * int(scale) >> 12 <= int(value) for level in levels[:LEVELS])


def _move_zeros(zeros, differences, newest):
    """The same without a compiler."""
    newest, total = int(newest), 0
    after = newest
    for i, before in enumerate([int(value) for value in differences[:6]]):
        step = (128 if before ^ newest >= 0 else -128) if newest else 0
        zero = min(max(step + (int(zeros[i]) * 32640 >> 15), -LARGEST - 1), LARGEST)
        total += zero * min(max(2 * after, -LARGEST - 1), LARGEST) >> 15
        zeros[i], differences[i] = zero, after
        after = before
    return total


if not IS_COMPILED:
    count_reached, filter_line, move_zeros = _count_reached, _filter_line, _move_zeros
