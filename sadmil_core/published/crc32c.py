"""CRC-32C (Castagnoli, RFC 3720) with NumPy, fast enough for megabytes.

The register of a CRC is a linear function, over bits, of the data. The data are cut into
32-bit words, and neighbouring halves are joined level by level, the left one advanced over
the length of the right one: about as many table look-ups as there are bytes, all vectorised.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # Reflected: bit 31 is the coefficient of x^0.
_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes | memoryview) -> int:
    """The CRC-32C of some bytes.

    Args:
        data: Any contiguous bytes; working memory is about four times their size.

    Returns:
        An unsigned 32-bit value; 0 for no data.
    """
    size = len(data)
    words = 1 << ((size + 7) // 4 - 1).bit_length()
    # Zeros before the data leave a zero register as it is, and the lead-in turns it into the
    # all-ones register that the standard starts from.
    buffer = np.zeros(4 * words, dtype=np.uint8)
    start = buffer.size - size
    buffer[start - 4 : start] = _LEAD_IN
    buffer[start:] = np.frombuffer(data, dtype=np.uint8)
    register = buffer.view("<u4").astype(np.uint32)
    level = 0
    while register.size > 1:
        register = _apply(_advance(level), register[0::2]) ^ register[1::2]
        level += 1
    return int(_apply(_advance(0), register)[0]) ^ 0xFFFFFFFF


def unmask(stored: int) -> int:
    """The checksum behind a stored one; both file formats store it rotated and offset."""
    rotated = (stored - _MASK_DELTA) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def _lead_in() -> NDArray[np.uint8]:
    """The four bytes that take the register from all zeros to all ones."""
    register = 0xFFFFFFFF
    for _ in range(32):  # Undo _advance_word: only the polynomial sets bit 31.
        out = register >> 31
        register = (((register ^ (_POLYNOMIAL if out else 0)) << 1) | out) & 0xFFFFFFFF
    return np.frombuffer(register.to_bytes(4, "little"), dtype=np.uint8)


@cache
def _advance(level: int) -> NDArray[np.uint32]:
    """(4, 256) what each byte of a register becomes after 4 * 2**level zero bytes."""
    if level:
        previous = _advance(level - 1)
        columns = _apply(previous, previous[:, _SINGLE_BITS].ravel())
    else:
        columns = np.array([_advance_word(1 << bit) for bit in range(32)], dtype=np.uint32)
    tables = np.zeros((4, 256), dtype=np.uint32)
    for byte in range(4):
        for bit in range(8):
            half = 1 << bit
            tables[byte, half : 2 * half] = tables[byte, :half] ^ columns[8 * byte + bit]
    return tables


def _advance_word(register: int) -> int:
    """The register four zero bytes later."""
    for _ in range(32):
        register = (register >> 1) ^ (_POLYNOMIAL if register & 1 else 0)
    return register


def _apply(tables: NDArray[np.uint32], register: NDArray[np.uint32]) -> NDArray[np.uint32]:
    result: NDArray[np.uint32] = tables[0][register & 0xFF]
    for byte in range(1, 4):
        result ^= tables[byte][(register >> np.uint32(8 * byte)) & 0xFF]
    return result


_SINGLE_BITS = 1 << np.arange(8)
_LEAD_IN = _lead_in()
