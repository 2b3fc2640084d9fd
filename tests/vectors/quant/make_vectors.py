#!/usr/bin/env python3
"""Writes mlx.bin: the output of mx.quantize (MLX, on the CPU) for small matrices of every kind.

Run it with mlx and numpy installed:  python3 make_vectors.py [OUT]      (made with mlx 0.32.4)

The file is a sequence of cases: a line "NAME DTYPE ROWS COLS FORMATS\n" (FORMATS as "2:32,2:64"), then
little-endian bytes: the weights in DTYPE and, for each format, codes (uint32), scales and biases (DTYPE) and,
where DTYPE is f32, the first row as mx.dequantize reads it back (float32).
"""
import os
import sys

import mlx.core as mx
import numpy as np

BITS = (2, 3, 4, 5, 6, 8)
GROUP_SIZES = (32, 64, 128)
DTYPES = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}
LARGEST = {"f32": 3.4028235e38, "f16": 65504.0, "bf16": 3.3895314e38}


def rows_of_every_kind(rng, dtype):
    """One row of 128 weights for each kind of difficult values."""
    normal = rng.standard_normal
    top = LARGEST[dtype]
    ramp = np.arange(128) - 64.0
    spike = normal(128) * 0.01
    spike[77] = 3.0
    negative_spike = normal(128) * 0.01
    negative_spike[5] = -3.0
    two_values = np.where(normal(128) > 0, 0.5, -0.5)
    mostly_zero = np.where(rng.random(128) < 0.9, 0.0, normal(128))
    top_and_one = np.full(128, top)
    top_and_one[3] = 1.0
    signed_zeros = np.where(normal(128) > 0, 0.0, -0.0)
    rows = {
        "gaussian": normal(128) * 0.02,
        "wide gaussian": normal(128),
        "student": rng.standard_t(2, 128) * 0.02,
        "laplace": rng.laplace(size=128) * 0.05,
        "positive": np.abs(normal(128)) + 0.1,
        "negative": -np.abs(normal(128)) - 0.1,
        "positive far from zero": np.abs(normal(128)) * 0.01 + 5,
        "negative far from zero": -np.abs(normal(128)) * 0.01 - 5,
        "zero": np.zeros(128),
        "signed zeros": signed_zeros,
        "constant": np.full(128, 0.37),
        "negative constant": np.full(128, -3.0),
        "large constant": np.full(128, 1e30 if dtype != "f16" else 6e4),
        "huge constant": np.full(128, top),
        "huge negative constant": np.full(128, -top),
        "spread overflows": np.sign(normal(128)) * top,
        "half of the spread overflows": normal(128) / 4 * top,
        "huge and one": top_and_one,
        "large": normal(128) * (1e18 if dtype != "f16" else 1e4),
        "small": normal(128) * 1e-5,
        "near the least scale": normal(128) * 2e-7,
        "below the least scale": normal(128) * 2e-8,
        "far below the least scale": normal(128) * 1e-12,
        "denormal": normal(128) * (1e-39 if dtype != "f16" else 1e-6),
        "ties of a ramp": ramp,
        "ties of a fine ramp": ramp / 256,
        "equal ends": np.clip(normal(128), -1, 1),
        "one large": spike,
        "one large and negative": negative_spike,
        "two values": two_values,
        "mostly zero": mostly_zero,
        "integers": np.round(normal(128) * 4),
    }
    return np.stack(list(rows.values()))


def as_dtype(values, dtype):
    info = np.float32(LARGEST[dtype])
    return mx.array(np.clip(values.astype(np.float32), -info, info)).astype(DTYPES[dtype])


def raw(array):
    if array.dtype == mx.bfloat16:
        array = array.view(mx.uint16)
    return np.array(array).tobytes()


def write_case(out, name, dtype, values):
    weights = as_dtype(values, dtype)
    rows, cols = weights.shape
    formats = [(b, g) for b in BITS for g in GROUP_SIZES if cols % g == 0]
    names = ",".join(f"{b}:{g}" for b, g in formats)
    out.write(f"{name} {dtype} {rows} {cols} {names}\n".encode())
    out.write(raw(weights))
    for bits, group_size in formats:
        codes, scales, biases = mx.quantize(weights, group_size=group_size, bits=bits)
        out.write(raw(codes) + raw(scales) + raw(biases))
        if dtype == "f32":
            out.write(raw(mx.dequantize(codes[:1], scales[:1], biases[:1], group_size, bits)))


def main():
    mx.set_default_device(mx.cpu)
    here = os.path.dirname(os.path.abspath(__file__))
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "mlx.bin")
    rng = np.random.default_rng(20240607)
    with open(path, "wb") as out:
        for dtype in DTYPES:
            write_case(out, "kinds", dtype, rows_of_every_kind(rng, dtype))
            for rows, cols in ((1, 32), (3, 96), (17, 160), (2, 192), (1, 384)):
                write_case(out, "shape", dtype, rng.standard_normal((rows, cols)) * 0.03)


if __name__ == "__main__":
    main()
