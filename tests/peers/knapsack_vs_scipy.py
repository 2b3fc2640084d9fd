#!/usr/bin/env python3
"""Solves knapsack problems with HiGHS (scipy.optimize.milp), to compare the C++ solver with.

The answers of the default run are checked in as tests/vectors/knapsack.txt and replayed by
src/allocate/vectors_test.cpp. Without --out the file is made again in memory and compared with the
one checked in. Another set, to be replayed with RAM_KNAPSACK_VECTORS=FILE:

    knapsack_vs_scipy.py --seed 7 --units 400 --count 10 --out FILE

File format, one problem after the other: a line `problem NAME UNITS BUDGET LOSS`, then per unit a
line `bytes loss bytes loss ...`. LOSS is the least loss within BUDGET. Needs numpy and scipy.
"""

import argparse
import math
import pathlib
import sys

VECTORS = pathlib.Path(__file__).resolve().parent.parent / "vectors" / "knapsack.txt"

# (bits, group size, NRMSE on Gaussian weights)
FORMATS = [
    (2, 128, 0.5000), (2, 64, 0.4499), (2, 32, 0.3930), (3, 128, 0.2133), (3, 64, 0.1922),
    (3, 32, 0.1678), (4, 128, 0.0997), (4, 64, 0.0896), (4, 32, 0.0782), (5, 128, 0.0483),
    (5, 64, 0.0434), (5, 32, 0.0378), (6, 128, 0.0237), (6, 64, 0.0213), (6, 32, 0.0186),
    (8, 128, 0.00586), (8, 64, 0.00527), (16, 0, 0.0),
]
SIZES = [1 << 20, 3 << 19, 1 << 23, 77 << 18]


def stored_bytes(weights, bits, group):
    return 2 * weights if bits == 16 else -(-weights * bits // 8) + 4 * -(-weights // group)


def make_unit(kind, random):
    """One unit: a list of (bytes, loss). Losses are of the order of thousands: HiGHS stops at an
    absolute gap of 1e-6."""
    size = int(random.choice(SIZES))
    if kind == "uncorrelated":
        sizes = sorted(int(b) for b in random.integers(1, 10**6, len(FORMATS)))
        losses = sorted((float(x) for x in 1000 * random.random(len(FORMATS))), reverse=True)
        return list(zip(sizes, losses))
    if kind == "weak":
        sizes = [int(b) for b in random.integers(1, 10**4, len(FORMATS))]
        return [(b, 10**4 - b + float(100 * random.random())) for b in sizes]
    scale = {"equal": 1.0,
             "alike": 1 + 0.01 * random.random(),
             "coefficients": math.exp(0.63 * random.standard_normal())}[kind]
    return [(stored_bytes(size, b, g), 1e7 * scale * e * e) for b, g, e in FORMATS]


def solve(units, budget):
    """Least loss within the budget, re-added exactly from the chosen options."""
    import numpy
    from scipy import optimize, sparse

    options = [(u, b, l) for u, unit in enumerate(units) for b, l in unit]
    # Sizes above each unit's least, in steps: small numbers keep the tolerances of the solver harmless.
    least = [min(b for b, _ in unit) for unit in units]
    step = max(1, math.gcd(*(b - least[u] for u, b, _ in options)))
    weights = numpy.array([(b - least[u]) // step for u, b, _ in options], dtype=float)
    rows = numpy.array([u for u, _, _ in options])
    one_each = sparse.csr_matrix(
        (numpy.ones(len(options)), (rows, numpy.arange(len(options)))), (len(units), len(options)))
    capacity = (budget - sum(least)) // step
    result = optimize.milp(
        numpy.array([l for _, _, l in options]),
        constraints=[optimize.LinearConstraint(one_each, 1, 1),
                     optimize.LinearConstraint(weights[None, :], -numpy.inf, capacity)],
        integrality=numpy.ones(len(options)), bounds=optimize.Bounds(0, 1),
        options={"mip_rel_gap": 0, "time_limit": 600})
    if result.status != 0:
        sys.exit(f"HiGHS: {result.message}")
    chosen = [o for o, x in zip(options, result.x) if x > 0.5]
    if [u for u, _, _ in chosen] != list(range(len(units))) or sum(b for _, b, _ in chosen) > budget:
        sys.exit("HiGHS: the answer violates its own constraints")
    return math.fsum(l for _, _, l in chosen)


def make_vectors(seed, unit_count, count):
    import numpy

    random = numpy.random.default_rng(seed)
    kinds = ["equal", "alike", "coefficients", "uncorrelated", "weak"]
    lines = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        units = [make_unit(kind, random) for _ in range(unit_count)]
        low = sum(min(b for b, _ in unit) for unit in units)
        high = sum(max(b for b, _ in unit) for unit in units)
        budget = low + int((high - low) * random.random() ** 2)
        loss = solve(units, budget)
        lines.append(f"problem {kind}-{number} {len(units)} {budget} {loss!r}")
        lines += [" ".join(f"{b} {l!r}" for b, l in unit) for unit in units]
    return "\n".join(lines) + "\n"


def compare(made, kept):
    """The same problems, and losses that agree to 1e-9 (another release may stop elsewhere)."""
    for a, b in zip(made.splitlines(), kept.splitlines(), strict=True):
        a, b = a.split(), b.split()
        if a[0] == "problem":
            if a[:4] != b[:4] or not math.isclose(float(a[4]), float(b[4]), rel_tol=1e-9):
                sys.exit(f"knapsack_vs_scipy: {' '.join(a)} made now, {' '.join(b)} checked in")
        elif not all(math.isclose(float(x), float(y), rel_tol=1e-12) for x, y in zip(a, b, strict=True)):
            sys.exit("knapsack_vs_scipy: the problems differ from those checked in")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--units", type=int, default=24)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    try:
        import scipy
    except ImportError:
        print("skipped: scipy is not installed, the knapsack is not compared with HiGHS")
        return
    made = make_vectors(args.seed, args.units, args.count)
    if args.out:
        args.out.write_text(made)
    else:
        compare(made, VECTORS.read_text())
    print(f"{args.count} knapsacks of {args.units} units solved by scipy {scipy.__version__}")


if __name__ == "__main__":
    main()
