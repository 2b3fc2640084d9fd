#!/usr/bin/env python3
"""Times GPTQ in PyTorch (the usual blocked algorithm, on MLX's grid) and FeedbackEncoder on matrices of the same
shapes, in one run, in turns, with two threads each: the factor of the second moment and the encoding of one matrix at
4:64.

    python3 bench/compare_gptq.py [--bench build/release/bench/ram_encoder_bench] [--least 3] [--rounds 3]

Needs torch and the release build with its benchmarks. Times are the best of the rounds. Exit status 1: feedback on the same
grid is less than --least times as fast as PyTorch.
"""
import argparse
import json
import subprocess
import sys
import time

import torch

SHAPES = [(2048, 768), (4096, 4096)]
BITS, GROUP, BLOCK, DAMPING = 4, 64, 128, 0.01


def mlx_rule(w):
    """MLX's scale and bias for each row of a group."""
    top = 2**BITS - 1
    lo, hi = w.min(1).values, w.max(1).values
    low_edge = lo.abs() > hi.abs()
    step = ((hi - lo) / top).clamp(min=1e-7)
    scale, edge = torch.where(low_edge, step, -step), torch.where(low_edge, lo, hi)
    steps = torch.round(edge / scale)
    none = steps == 0
    scale = torch.where(none, scale, edge / torch.where(none, torch.ones_like(steps), steps))
    return scale[:, None], torch.where(none, torch.zeros_like(edge), edge)[:, None]


def gptq(weights, moment):
    """Frantar et al. 2022 with lazy updates in blocks; the decoded weights."""
    w, h = weights.clone(), moment.clone()
    h.diagonal().add_(DAMPING * h.diagonal().mean())
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    decoded = torch.empty_like(w)
    for first in range(0, w.shape[1], BLOCK):
        last = min(first + BLOCK, w.shape[1])
        block, errors = w[:, first:last].clone(), torch.empty(w.shape[0], last - first)
        local = inverse[first:last, first:last]
        for k in range(last - first):
            if k % GROUP == 0:
                scale, bias = mlx_rule(block[:, k:k + GROUP])
            column = block[:, k:k + 1]
            code = torch.round((column - bias) / scale).clamp(0, 2**BITS - 1)
            q = code * scale + bias
            error = (column - q) / local[k, k]
            block[:, k:] -= error @ local[k:k + 1, k:]
            decoded[:, first + k] = q[:, 0]
            errors[:, k] = error[:, 0]
        w[:, last:] -= errors @ inverse[first:last, last:]
    return decoded


def lost(weights, decoded, moment):
    error = decoded - weights
    return ((error @ moment) * error).sum().item()


def torch_seconds(weights, moment):
    begin = time.perf_counter()
    decoded = gptq(weights, moment)
    seconds = time.perf_counter() - begin
    scale, bias = mlx_rule(weights.reshape(-1, GROUP))
    codes = torch.round((weights.reshape(-1, GROUP) - bias) / scale).clamp(0, 2**BITS - 1)
    plain = (codes * scale + bias).reshape(weights.shape)
    assert lost(weights, decoded, moment) < 0.7 * lost(weights, plain, moment)
    return seconds


def our_seconds(bench):
    """Seconds of each kind and shape."""
    command = [bench, "--benchmark_filter=^matrix/", "--benchmark_format=json"]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    found = {}
    for entry in json.loads(run.stdout)["benchmarks"]:
        _, kind, rows, cols, _ = entry["name"].split("/")
        found[kind, int(rows), int(cols)] = entry["real_time"] * 1e-3
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", default="build/release/bench/ram_encoder_bench")
    parser.add_argument("--least", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(1)
    theirs, ours = {}, {}
    for _ in range(options.rounds):
        for rows, cols in SHAPES:
            x = torch.randn(2 * cols, cols)
            x[:, 1:] += 0.9 * x[:, :-1]
            weights = torch.randn(rows, cols)
            seconds = torch_seconds(weights, x.T @ x)
            theirs[rows, cols] = min(seconds, theirs.get((rows, cols), seconds))
        for key, seconds in our_seconds(options.bench).items():
            ours[key] = min(seconds, ours.get(key, seconds))
    slow = False
    for rows, cols in SHAPES:
        seconds = theirs[rows, cols]
        print(f"{rows} x {cols}: PyTorch {seconds:.2f} s, {rows * cols / seconds * 1e-6:.2f} Mweights/s")
        for kind in ("mlx_grid", "searched", "full"):
            mine = ours[kind, rows, cols]
            print(f"    {kind:9} {mine:6.3f} s, {rows * cols / mine * 1e-6:5.2f} Mweights/s, {seconds / mine:4.1f} times as fast")
        slow = slow or seconds / ours["mlx_grid", rows, cols] < options.least
    if slow:
        print(f"feedback on the same grid is less than {options.least:g} times as fast", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
