"""Chance, as a pure function of a seed: the same draws in every run, whatever the timing."""

from hashlib import blake2b


def draw(seed: int, *parts: object) -> float:
    """A number in [0, 1) that depends on the seed and on these parts, and on nothing else.

    The parts are hashed with their lengths, so that no two lists of parts run together.
    """
    text = "".join(f"{len(str(part))}:{part}" for part in (seed, *parts))
    # 53 bits, as many as a float holds: of 64 the largest would round up to 1.
    return (int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 11) / 2**53
