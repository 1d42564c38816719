"""Noise in whole numbers, drawn exactly: the discrete (two-sided geometric) Laplace distribution.

Guarantees that P[X = x] is proportional to exp(-|x| / scale) to the last bit for a rational scale, given bytes that
are uniform: only integers are compared, no floating-point number is ever drawn or rounded, so the low bits of an answer
say nothing (Mironov 2012, «On significance of the least significant bits for differential privacy»). Added to a whole
number that one person changes by at most s, it is (s/scale)-differentially private. Does not run in constant time.

Source: Canonne, Kamath, Steinke 2020, «The Discrete Gaussian for Differential Privacy» (arXiv 2004.00010), algorithms 1
and 2.
"""

import math
from collections.abc import Callable
from fractions import Fraction

Read = Callable[[int], bytes | bytearray]
"""Uniform random bytes: ``n`` → ``n`` bytes (``crypto.stream.KeyStream.read``)."""


def draw(scale: Fraction, read: Read) -> int:
    """Draw once from the discrete Laplace distribution.

    Args:
        scale: P[x] ∝ exp(-|x| / scale); positive.
        read: where the randomness comes from.

    Raises:
        ValueError: the scale is not positive.
    """
    if scale <= 0:
        raise ValueError("the scale of noise is positive")
    top, bottom = scale.numerator, scale.denominator
    while True:
        remainder = below(top, read)
        if not happens(Fraction(remainder, top), read):
            continue
        whole = 0
        while happens(Fraction(1), read):
            whole += 1
        size = (remainder + top * whole) // bottom
        negative = below(2, read) == 1
        if negative and size == 0:
            continue  # zero would otherwise come twice as often
        return -size if negative else size


def happens(exponent: Fraction, read: Read) -> bool:
    """Return True with probability exp(-exponent), for an exponent from 0 to 1, without computing it."""
    count = 1
    while below(exponent.denominator * count, read) < exponent.numerator:
        count += 1
    return count % 2 == 1


def below(bound: int, read: Read) -> int:
    """Return a uniform integer from 0 to ``bound`` - 1, by rejection."""
    bits = (bound - 1).bit_length()
    if bits == 0:
        return 0
    excess = -bits % 8
    while True:
        number = int.from_bytes(read((bits + 7) // 8)) >> excess
        if number < bound:
            return number


def tail(scale: Fraction, least: int) -> float:
    """Return P[X >= least], for a whole number of at least 1, rounded up."""
    step = 1 / float(scale)
    exact = math.exp(-least * step) / (1 + math.exp(-step))
    return min(1.0, exact * (1 + 1e-9))


def reaches(scale: Fraction, chance: float) -> int:
    """Return the smallest whole number m >= 1 with P[X >= m] <= chance.

    Raises:
        ValueError: the chance is no probability above 0.
    """
    if not 0 < chance < 1:
        raise ValueError("a chance lies between 0 and 1")
    step = 1 / float(scale)
    guess = max(1, math.floor(-math.log(chance * (1 + math.exp(-step))) / step) - 1)
    while tail(scale, guess) > chance:
        guess += 1
    return guess
