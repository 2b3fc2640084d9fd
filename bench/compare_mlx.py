#!/usr/bin/env python3
"""Measures all 18 formats' distortion with MLX's own operations on the CPU (quantize, dequantize, squared error)
and with measure_distortion, in one run, and prints both speeds and their ratio.

    python3 bench/compare_mlx.py [--bench build/release/bench/ram_quant_bench] [--least 200] [--rounds 5]

Needs mlx and numpy, and the release build with its benchmarks. The two take turns, each with its usual threads: ours
with two, as analyze on two cores, MLX with its own choice. Speeds are the best of the rounds: by the wall clock and,
since the machine may have other work, by processor time per thread. Exit status 1: the ratio by the clock and two
threads' ratio by processor time are both below --least.
"""
import argparse
import json
import subprocess
import sys
import time

import mlx.core as mx
import numpy as np

FORMATS = [(bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]
ROWS, COLS = 512, 2048


def squared_error(weights, wide, bits, group):
    codes, scales, biases = mx.quantize(weights, group_size=group, bits=bits)
    decoded = mx.dequantize(codes, scales, biases, group_size=group, bits=bits)
    difference = decoded.astype(mx.float32) - wide
    return (difference * difference).sum()


def mlx_speeds(weights):
    """Gweights/s over all formats by the clock and by processor time; checks the result."""
    wide = weights.astype(mx.float32)
    total = (wide * wide).sum()
    mx.eval(wide, total)
    wall, busy = time.perf_counter(), time.process_time()
    errors = {}
    for bits, group in FORMATS:
        errors[bits, group] = squared_error(weights, wide, bits, group)
        mx.eval(errors[bits, group])
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    nrmse = (errors[4, 64].item() / total.item()) ** 0.5
    assert 0.08 < nrmse < 0.1, nrmse
    return weights.size / wall * 1e-9, weights.size / busy * 1e-9


def our_speeds(bench):
    """The same for ours, hot: two threads by the clock, one by its processor time. The program checks its result."""
    command = [bench, "--benchmark_filter=^distortion/hot(/two.*)?$", "--benchmark_format=json"]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    found = {entry["name"]: entry["Gweights/s"] for entry in json.loads(run.stdout)["benchmarks"]}
    return found["distortion/hot/two/real_time"], found["distortion/hot"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", default="build/release/bench/ram_quant_bench")
    parser.add_argument("--least", type=float, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    mx.set_default_device(mx.cpu)
    normal = np.random.default_rng(1).standard_normal((ROWS, COLS)) * 0.02
    weights = mx.array(normal.astype(np.float32)).astype(mx.bfloat16)
    mx.eval(weights)
    mlx, ours = [], []
    for _ in range(options.rounds):
        mlx.append(mlx_speeds(weights))
        ours.append(our_speeds(options.bench))
    (mlx_wall, mlx_busy), (our_wall, our_busy) = map(max, zip(*mlx)), map(max, zip(*ours))
    wall, busy = our_wall / mlx_wall, our_busy / mlx_busy
    print(f"by the clock:      mlx {mlx_wall * 1e3:5.2f} Mweights/s, ram {our_wall * 1e3:5.0f} on two threads, ratio {wall:.0f}")
    print(f"by processor time: mlx {mlx_busy * 1e3:5.2f} Mweights/s, ram {our_busy * 1e3:5.0f} a thread,      ratio {busy:.0f}")
    if max(wall, 2 * busy) < options.least:
        print(f"the ratio is below {options.least:.0f}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
