#!/usr/bin/env python3
"""Writes fp8.txt and mxfp4.txt beside this file: the decoded values of sources' storage formats.

fp8.txt: a line per scale: its float32 bits, then the bfloat16 bits of all 256 E4M3 codes times it, computed by torch as
mlx_lm (models/deepseek_v3.py, dequant) and transformers compute it: the product in float32, rounded to bfloat16.
mxfp4.txt: a line per E8M0 code: the code, then the bfloat16 bits of the 16 E2M1 codes times it, from the tables of
transformers (integrations/mxfp4.py, FP4_VALUES) and torch.ldexp.

python3 make_vectors.py
"""

from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
FP4_VALUES = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]


def bits(values):
    """bfloat16 bits, every NaN written as one."""
    rounded = values.to(torch.bfloat16)
    words = rounded.view(torch.int16).to(torch.int32) & 0xFFFF
    return " ".join("nan" if nan else f"{int(word):04x}" for word, nan in zip(words, rounded.isnan()))


def main():
    codes = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(torch.float8_e4m3fn).to(torch.float32)
    generator = torch.Generator().manual_seed(7)
    random = torch.exp2(torch.rand(24, generator=generator) * 40 - 30)
    fixed = torch.tensor([1.0, 0.0, -0.75, 2.0**-20, 1.0 + 2.0**-23, 2.0**120, 3.1e-38, 1e-42])
    lines = []
    for scale in torch.cat([fixed, random]):
        word = int(scale.view(torch.int32)) & 0xFFFFFFFF
        lines.append(f"{word:08x} {bits(codes * scale)}")
    (HERE / "fp8.txt").write_text("\n".join(lines) + "\n")
    values = torch.tensor(FP4_VALUES)
    lines = []
    for code in [0, 1, 2, 100, 126, 127, 128, 140, 200, 253]:
        exponent = torch.full([16], code - 127, dtype=torch.int32)
        lines.append(f"{code} {bits(torch.ldexp(values.double(), exponent).float())}")
    (HERE / "mxfp4.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
