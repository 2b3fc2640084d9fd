#!/usr/bin/env python3
"""Runs mlx_lm's own GPTQ on one linear, to compare with ours on the same grid, order and damping.

The figures of the default run are checked in as tests/vectors/gptq.txt and replayed by
src/encoder/gptq_vectors_test.cpp, which makes the same weights and inputs from the same integers.
Without --out the file is made again in memory and compared with the one checked in. Needs mlx and mlx_lm.

File format: a line `matrix ROWS COLS TOKENS`, then lines `BITS GROUP_SIZE FED PLAIN`: the sum over tokens of the
squared error of the linear's output, as mlx_lm's GPTQ and as mx.quantize leave it, everything in float32.
"""

import argparse
import math
import pathlib
import sys

VECTORS = pathlib.Path(__file__).resolve().parent.parent / "vectors" / "gptq.txt"
ROWS, COLS, TOKENS = 512, 384, 1024
FORMATS = [(bits, group) for bits in (2, 4, 8) for group in (32, 64, 128)]


def noise(count, seed):
    """Numbers around 0 in float32, from the sum of four bytes of a hashed counter; exact everywhere."""
    import numpy

    x = numpy.arange(count, dtype=numpy.uint32) + numpy.uint32(seed * 0x9E3779B9 % 2**32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> numpy.uint32(shift))) * numpy.uint32(factor)
    x ^= x >> numpy.uint32(16)
    total = sum((x >> numpy.uint32(s)) & numpy.uint32(255) for s in (0, 8, 16, 24))
    return (total.astype(numpy.float32) - numpy.float32(510)) / numpy.float32(128)


def inputs():
    """[TOKENS, COLS]: each column a mixture of itself and the one before."""
    import numpy

    x = noise(TOKENS * COLS, 1).reshape(TOKENS, COLS)
    for i in range(1, COLS):
        x[:, i] += numpy.float32(0.875) * x[:, i - 1]
    return x


def make_vectors():
    import mlx.core as mx
    import mlx.nn as nn
    import numpy
    from mlx_lm.quant.gptq import gptq_quantize

    class Model(nn.Module):
        def __init__(self, weights):
            super().__init__()
            self.linear = nn.Linear(COLS, ROWS, bias=False)
            self.linear.weight = mx.array(weights)

        def __call__(self, x):
            return self.linear(x)

    mx.set_default_device(mx.cpu)
    x, weights = inputs(), noise(ROWS * COLS, 2).reshape(ROWS, COLS)

    def lost(codes, scales, biases, bits, group):
        decoded = numpy.array(mx.dequantize(codes, scales, biases, group_size=group, bits=bits))
        error = decoded.astype(numpy.float64) - weights
        return float(((x.astype(numpy.float64) @ error.T) ** 2).sum())

    lines = [f"matrix {ROWS} {COLS} {TOKENS}"]
    for bits, group in FORMATS:
        model, _ = gptq_quantize(Model(weights), mx.array(x)[None], bits, group, 8, 64)
        layer = model.linear
        fed = lost(layer.weight, layer.scales, layer.biases, bits, group)
        plain = lost(*mx.quantize(mx.array(weights), group_size=group, bits=bits), bits, group)
        lines.append(f"{bits} {group} {fed:.9g} {plain:.9g}")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    try:
        import mlx_lm
    except ImportError:
        print("skipped: mlx_lm is not installed, feedback is not compared with its GPTQ")
        return
    made = make_vectors()
    if args.out:
        args.out.write_text(made)
    else:
        for a, b in zip(made.split(), VECTORS.read_text().split(), strict=True):
            if a != b and not math.isclose(float(a), float(b), rel_tol=5e-3):
                sys.exit(f"gptq_vs_mlx_lm: {a} made now, {b} checked in")
    print(f"{len(FORMATS)} matrices encoded by mlx_lm {mlx_lm.__version__}")


if __name__ == "__main__":
    main()
