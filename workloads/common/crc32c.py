"""CRC-32C of ranges that arrive out of order.

`google_crc32c` computes the checksum of one run of bytes; joining the checksums of neighbouring ranges needs only
their lengths, by the rule of zlib's crc32_combine: https://github.com/madler/zlib/blob/v1.3.1/crc32.c
"""

import base64
from functools import lru_cache

import google_crc32c

_POLYNOMIAL = 0x82F63B78
_ONE = 1 << 31


def extend(crc: int, data: bytes) -> int:
    """Checksum of what `crc` covers followed by `data`."""
    return int(google_crc32c.extend(crc, data))


def join(first: int, second: int, second_length: int) -> int:
    """Checksum of two neighbouring ranges, from the checksum of each and the length of the second in bytes."""
    return _multiply(_shift(second_length), first) ^ second


def to_base64(crc: int) -> str:
    """As the storage API writes it."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def from_base64(text: str) -> int:
    return int.from_bytes(base64.b64decode(text), "big")


def _multiply(left: int, right: int) -> int:
    """Product of two polynomials over GF(2), modulo the CRC's polynomial, in reflected bits."""
    product = 0
    bit = _ONE
    while bit:
        if left & bit:
            product ^= right
        right = (right >> 1) ^ (_POLYNOMIAL if right & 1 else 0)
        bit >>= 1
    return product


@lru_cache(maxsize=64)
def _shift(length: int) -> int:
    """x to the power of 8 * length, modulo the polynomial."""
    result, square, exponent = _ONE, _ONE >> 1, length * 8
    while exponent:
        if exponent & 1:
            result = _multiply(square, result)
        square = _multiply(square, square)
        exponent >>= 1
    return result
