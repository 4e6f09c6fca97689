#!/usr/bin/env python3
"""Makes tests/data/dequant/: blocks of every format and the float32 values that the `gguf` package gives them.

NAME.blocks holds whole blocks, NAME.f32 the little-endian values. Needs `pip install gguf numpy`; the committed files were
made with gguf 0.19.0. Q8_1 and Q8_K, which the package cannot dequantize, are tested by hand-made cases in src/quant.
"""

import pathlib

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type

# Zero, both signs; the denormals' ends; the smallest normal; one; the largest; infinities; a quiet NaN.
HALVES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00]

# Where a block keeps its binary16 scales.
SCALES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
    Type.IQ4_NL: [0], Type.IQ4_XS: [0], Type.MXFP4: [], Type.TQ1_0: [52], Type.TQ2_0: [64],
    Type.IQ1_S: [0], Type.IQ1_M: [], Type.IQ2_XXS: [0], Type.IQ2_XS: [0], Type.IQ2_S: [0],
    Type.IQ3_XXS: [0], Type.IQ3_S: [0],
}

# Where a block keeps index number r of a grid point: bits of a little-endian number of two bytes (offset of the number, lowest
# bit, number of bits), low part first. IQ1_M has the grid of IQ1_S.
INDICES = {
    Type.IQ1_S: lambda r: [(2 + r, 0, 8), (34 + r // 4 * 2, r % 4 * 3, 3)],
    Type.IQ2_XXS: lambda r: [(2 + r // 4 * 8 + r % 4, 0, 8)],
    Type.IQ2_XS: lambda r: [(2 + 2 * r, 0, 9)],
    Type.IQ2_S: lambda r: [(2 + r, 0, 8), (66 + r // 4, r % 4 * 2, 2)],
    Type.IQ3_XXS: lambda r: [(2 + r, 0, 8)],
    Type.IQ3_S: lambda r: [(2 + r, 0, 8), (66 + r // 8, r % 8, 1)],
}


def put_half(block, at, bits):
    block[at], block[at + 1] = bits & 0xFF, bits >> 8


def put_index(block, places, index):
    for at, bit, n_bits in places:
        number = int(block[at]) | int(block[at + 1]) << 8
        mask = ((1 << n_bits) - 1) << bit
        put_half(block, at, number & ~mask | index << bit & mask)
        index >>= n_bits


def every_point(rng, kind, n_bytes):
    """Blocks in which every index of a grid occurs."""
    n_bits, n_runs = sum(n for _, _, n in INDICES[kind](0)), 64 if kind in (Type.IQ3_XXS, Type.IQ3_S) else 32
    blocks = rng.integers(0, 256, (2**n_bits // n_runs, n_bytes), dtype=np.uint8)
    for i, block in enumerate(blocks):
        put_half(block, 0, int(np.float16(rng.normal()).view(np.uint16)))
        for r in range(n_runs):
            put_index(block, INDICES[kind](r), i * n_runs + r)
    return blocks


def block_format(rng, kind, offsets):
    """Random bytes everywhere, then: every edge scale (with a shifted edge as the minimum), ordinary scales, and codes
    that are all zeros and all ones; for formats with a grid, every point of it."""
    block_len, n_bytes = GGML_QUANT_SIZES[kind]
    n_plain = 4 if block_len == 256 else 24
    if kind == Type.MXFP4:
        blocks = rng.integers(0, 256, (256, n_bytes), dtype=np.uint8)
        blocks[:, 0] = np.arange(256)
        return blocks
    # The package adds the code of IQ1_S and its minimum before it multiplies, oribi after: the same but for an infinite scale.
    halves = [h for h in HALVES if kind != Type.IQ1_S or h & 0x7FFF != 0x7C00]
    blocks = rng.integers(0, 256, (len(halves) + n_plain + 2, n_bytes), dtype=np.uint8)
    blocks[-2], blocks[-1] = 0x00, 0xFF
    for i, block in enumerate(blocks):
        for j, at in enumerate(offsets):
            if i < len(halves):
                bits = halves[(i + 5 * j) % len(halves)]
            else:
                bits = int(np.float16(rng.normal() * 10.0 ** rng.integers(-5, 2)).view(np.uint16))
            put_half(block, at, bits)
        if kind == Type.IQ1_M:  # a nibble each of four bytes
            bits = halves[i] if i < len(halves) else int(np.float16(rng.normal()).view(np.uint16))
            put_index(block, [(49 + 2 * n, 4, 4) for n in range(3)], bits)
            block[55] = block[55] & 15 | bits >> 12 << 4
    return np.concatenate([blocks, every_point(rng, kind, n_bytes)]) if kind in INDICES else blocks


def float_format(rng, kind):
    """Random bit patterns and the edges of the format."""
    if kind == Type.F32:
        edges = [0, 0x80000000, 1, 0x007FFFFF, 0x00800000, 0x3F800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000]
        elems = np.concatenate([np.array(edges, "<u4"), rng.integers(0, 2**32, 246, dtype=np.uint32)])
    else:
        elems = np.concatenate([np.array(HALVES, "<u2"), rng.integers(0, 2**16, 499, dtype=np.uint16)])
    return elems.view(np.uint8)


def main():
    folder = pathlib.Path(__file__).parent / "dequant"
    folder.mkdir(exist_ok=True)
    kinds = [(kind, None) for kind in (Type.F32, Type.F16, Type.BF16)] + list(SCALES.items())
    for kind, offsets in kinds:
        rng = np.random.default_rng(int(kind) + 1000)
        data = float_format(rng, kind) if offsets is None else block_format(rng, kind, offsets)
        with np.errstate(all="ignore"):
            values = gguf.dequantize(data, kind)
        (folder / f"{kind.name}.blocks").write_bytes(data.tobytes())
        (folder / f"{kind.name}.f32").write_bytes(values.astype("<f4").tobytes())


main()
