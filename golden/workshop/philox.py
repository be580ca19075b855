"""Philox4x64-10 in plain integers. Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"."""

from __future__ import annotations

from fractions import Fraction

_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_WORD = 2**64


def block(key: tuple[int, int], counter: int) -> list[int]:
    """Compute four words of 64 bits."""
    c = [counter >> 64 * n & _WORD - 1 for n in range(4)]
    k = list(key)
    for _ in range(10):
        high_0, low_0 = divmod(_MULTIPLIERS[0] * c[0], _WORD)
        high_1, low_1 = divmod(_MULTIPLIERS[1] * c[2], _WORD)
        c = [high_1 ^ c[1] ^ k[0], low_1, high_0 ^ c[3] ^ k[1], low_0]
        k = [(k[n] + _WEYL[n]) % _WORD for n in range(2)]
    return c


def uniform(seed: int, stream: int, step: int, size: int) -> list[Fraction]:
    """Compute the `size` numbers in (0, 1) of one step of one stream: (⌊word/2¹²⌋ + ½)·2⁻⁵²; the key is (seed, stream)."""
    blocks = -(-size // 4)
    words = [word for n in range(blocks) for word in block((seed, stream), step * blocks + n + 1)]
    return [(Fraction(word >> 12) + Fraction(1, 2)) / 2**52 for word in words[:size]]
