#!/usr/bin/env python3
"""Coefficients of all units by ram and by PyTorch's autograd, each in forward passes of the same rows, in one run.

    python3 bench/compare_backward.py FOLDER [--bench build/release/bench/ram_calibrate_bench] [--rounds 3]

FOLDER is a source folder. Both use float32, all processors, and 8 rows of 256 tokens. PyTorch goes one row after another:
forward, backward, and the squared norm of each matrix's gradient, in transformers' model. Needs torch and transformers.
"""

import argparse
import json
import os
import statistics
import subprocess
import time

import torch
from transformers import AutoModelForCausalLM

ROWS, LENGTH = 8, 256


def passes_of_torch(folder):
    """Tokens per second of a forward pass, and of everything for the coefficients."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rows = torch.randint(0, model.config.vocab_size, (ROWS, 1, LENGTH))

    def forward():
        start = time.perf_counter()
        with torch.no_grad():
            for row in rows:
                model(row)
        return time.perf_counter() - start

    def coefficients():
        start = time.perf_counter()
        squares = {}
        for row in rows:
            model.zero_grad(set_to_none=True)
            logs = torch.log_softmax(model(row).logits[0, :-1], -1)
            logs[torch.arange(LENGTH - 1), row[0, 1:]].sum().backward()
            for name, weight in model.named_parameters():
                if weight.dim() > 1 and weight.grad is not None:
                    squares[name] = squares.get(name, 0) + float((weight.grad**2).sum())
        return time.perf_counter() - start

    forward()
    pass_, back = min(forward(), forward()), coefficients()
    return ROWS * LENGTH / pass_, ROWS * LENGTH / back


def passes_of_ram(bench, folder):
    command = [bench, "--benchmark_filter=gradients", "--benchmark_format=json"]
    done = subprocess.run(command, env=dict(os.environ, RAM_BENCH_MODEL=folder), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["benchmarks"][0]
    return found["tokens/s"] * found["passes"], found["tokens/s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--bench", default="build/release/bench/ram_calibrate_bench")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found = {"ram": [], "PyTorch": []}
    for _ in range(options.rounds):
        found["ram"].append(passes_of_ram(options.bench, options.folder))
        found["PyTorch"].append(passes_of_torch(options.folder))
    for name, rounds in found.items():
        forward = statistics.median(forward for forward, _ in rounds)
        back = statistics.median(back for _, back in rounds)
        passes = statistics.median(forward / back for forward, back in rounds)
        print(f"{name}: forward {forward:.0f} tokens/s, coefficients {back:.0f} tokens/s, {passes:.2f} forward passes")
    ratio = statistics.median(ram / torch_ for (_, ram), (_, torch_) in zip(found["ram"], found["PyTorch"]))
    print(f"ram over PyTorch, coefficients: {ratio:.2f}")


if __name__ == "__main__":
    main()
