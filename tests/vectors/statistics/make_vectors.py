#!/usr/bin/env python3
"""Writes vectors.json beside this file: results of scipy and numpy for some seeded samples.

    make_vectors.py        with scipy 1.17 and numpy 2.4

src/eval/vectors_test.cpp compares include/ram/statistics.h with it.
"""

import json
from pathlib import Path

import numpy as np
from scipy import stats


def samples():
    rng = np.random.default_rng(20240607)
    yield "normal", rng.normal(0.3, 1, 150)
    yield "heavy tails", rng.standard_t(2, 150)
    yield "small", rng.normal(0.5, 1, 20)
    yield "fifty", rng.normal(0.1, 1, 50)
    yield "fifty-one", rng.normal(0.1, 1, 51)
    yield "two", np.array([1.5, -0.25])
    yield "one", np.array([0.75])
    yield "few with ties", np.array([1.0, 1, -1, 2, 2, 2, -3, 0.5, 0.5])
    yield "few with zeros", np.array([0.0, 1, -2, 0, 3, 4, -5, 6, 7, 0.5, 0, 0, 2.5])
    yield "ties and zeros", np.round(rng.normal(0.2, 1, 80), 1)
    yield "more with ties", np.round(rng.normal(0.4, 1, 30), 1)
    yield "all of one sign", np.abs(rng.normal(0, 1, 40)) + 0.01
    yield "all zero but one", np.array([0.0] * 30 + [1.0])


def tests():
    for name, x in samples():
        positive, negative = int((x > 0).sum()), int((x < 0).sum())
        yield {
            "name": name,
            "values": x.tolist(),
            "wilcoxon_p": float(stats.wilcoxon(x).pvalue),
            "sign_p": float(stats.binomtest(positive, positive + negative, 0.5).pvalue),
            "percentiles": {
                str(p): float(np.percentile(x, p)) for p in (0, 2.5, 25, 50, 90, 99, 99.9, 100)
            },
        }


def paired():
    """Means of differences with rows of one length: the ratio estimator is then the t test."""
    for name, x in samples():
        if len(x) < 2 or len(set(x)) < 2:
            continue
        test = stats.ttest_1samp(x, 0)
        low, high = test.confidence_interval(0.95)
        yield {
            "name": name,
            "values": x.tolist(),
            "delta": float(np.mean(x)),
            "se": float(stats.sem(x)),
            "p": float(test.pvalue),
            "low": float(low),
            "high": float(high),
        }


def binomials():
    for k, n in ((0, 1), (0, 5), (3, 10), (5, 10), (60, 141), (1, 141), (4900, 10000), (0, 2000)):
        yield {"successes": k, "total": n, "p": float(stats.binomtest(k, n, 0.5).pvalue)}


def students():
    for degrees in (1, 2, 3, 10, 149, 10000):
        for t in (0.01, 0.5, 1.96, 5.0, 40.0):
            yield {"degrees": degrees, "t": t, "p": float(2 * stats.t.sf(t, degrees))}


def quantiles():
    for degrees in (1, 2, 3, 10, 149, 10000):
        for p in (0.5, 0.05, 1e-3, 1e-8):
            yield {"degrees": degrees, "p": p, "t": float(stats.t.isf(p / 2, degrees))}


def bootstraps():
    """scipy's percentile interval, from its own draws: equal except for the noise of drawing."""
    for name, x in samples():
        if len(x) < 20 or np.std(x) == 0:
            continue
        done = stats.bootstrap(
            (x,), np.mean, n_resamples=200_000, batch=10_000, method="percentile", rng=1
        )
        interval = done.confidence_interval
        yield {
            "name": name,
            "values": x.tolist(),
            "low": float(interval.low),
            "high": float(interval.high),
            "se": float(done.standard_error),
        }


def holms():
    # stats.false_discovery_control does not have Holm's method: it is written out here.
    for values in ([0.01, 0.04, 0.03], [0.5], [0.2, 0.2, 0.9, 0.001], [1e-9, 0.013, 0.013, 0.6, 1]):
        order = np.argsort(values, kind="stable")
        p = np.array(values)[order] * (len(values) - np.arange(len(values)))
        out = np.empty(len(values))
        out[order] = np.minimum(1, np.maximum.accumulate(p))
        yield {"values": values, "adjusted": out.tolist()}


def draws():
    for n, k, seed in (
        (141, 128, 42),
        (141, 141, 42),
        (1, 1, 42),
        (1, 0, 0),
        (2, 1, 7),
        (1000, 10, 0),
        (64, 32, 4294967295),
        (65, 32, 123456789),
        (5000, 20, 42),
    ):
        chosen = np.random.RandomState(seed).choice(n, k, replace=False)
        yield {"population": n, "n": k, "seed": seed, "rows": np.sort(chosen).tolist()}


def main():
    document = {
        "tests": list(tests()),
        "paired": list(paired()),
        "binomials": list(binomials()),
        "students": list(students()),
        "quantiles": list(quantiles()),
        "bootstraps": list(bootstraps()),
        "holm": list(holms()),
        "draws": list(draws()),
    }
    lines = []
    for key, cases in document.items():
        body = ",\n    ".join(json.dumps(case) for case in cases)
        lines.append(f'  "{key}": [\n    {body}\n  ]')
    path = Path(__file__).resolve().parent / "vectors.json"
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
