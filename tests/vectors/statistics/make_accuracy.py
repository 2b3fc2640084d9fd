#!/usr/bin/env python3
"""Writes accuracy.json beside this file: scipy's results for McNemar's exact test and its power, for the
interval of a share, and for that of a difference.

    make_accuracy.py        with scipy 1.17 and numpy 2.4

src/eval/accuracy_test.cpp compares include/ram/statistics.h with it.
"""

import json
from pathlib import Path

import numpy as np
from scipy import optimize, stats

LEVEL = 0.05
POWER = 0.8


def rejects(flips):
    """Which splits of `flips` the exact test rejects, as an array over the number of gains."""
    k = np.arange(flips + 1)
    least = np.minimum(k, flips - k)
    p = np.where(2 * least == flips, 1.0, np.minimum(1.0, 2 * stats.binom.cdf(least, flips, 0.5)))
    return p < LEVEL


REJECTS = {}


def power(questions, gain, loss):
    """Sums over every split of every number of flips that is not negligibly unlikely."""
    rate = gain + loss
    share = gain / rate
    low, high = (int(x) for x in stats.binom.interval(1 - 1e-15, questions, min(rate, 1)))
    total = 0.0
    for flips in range(low, high + 1):
        if flips not in REJECTS:
            REJECTS[flips] = rejects(flips)
        split = stats.binom.pmf(np.arange(flips + 1), flips, share)
        total += stats.binom.pmf(flips, questions, min(rate, 1)) * split[REJECTS[flips]].sum()
    return float(total)


def detectable(questions, flipped):
    def missing(difference):
        rate = max(flipped / questions, difference)
        return power(questions, (rate + difference) / 2, (rate - difference) / 2) - POWER

    if missing(1) < 0:
        return 1.0
    return float(optimize.brentq(missing, 1e-6, 1, xtol=1e-9))


def flips_interval(questions, gained, lost):
    """Tango's interval from its definition: the likelihood under a given difference maximised by search, not by the
    root of a quadratic equation; the score inverted by brentq."""
    critical = stats.norm.isf(LEVEL / 2)

    def log_likelihood(loss, difference):
        gain = loss + difference
        both = 1 - gain - loss
        if min(gain, loss, both) < -1e-12:
            return -np.inf
        terms = ((gained, gain), (lost, loss), (questions - gained - lost, both))
        return sum(n * np.log(max(p, 1e-300)) for n, p in terms if n > 0)

    def score(difference):
        low, high = max(0.0, -difference), (1 - difference) / 2
        best = optimize.minimize_scalar(lambda loss: -log_likelihood(loss, difference), bounds=(low, high),
                                        method="bounded", options={"xatol": 1e-13})
        loss = min((low, high, best.x), key=lambda x: -log_likelihood(x, difference))
        variance = questions * (2 * loss + difference * (1 - difference))
        return (gained - lost - questions * difference) / np.sqrt(max(variance, 1e-300))

    middle = (gained - lost) / questions
    nearly = 1 - 1e-12

    def end(outside, sign):
        if sign * score(outside) < critical:
            return outside
        return float(optimize.brentq(lambda d: sign * score(d) - critical, middle, outside, xtol=1e-12))

    return [end(-nearly, 1), end(nearly, -1)]


def main():
    entries = []
    for questions, gained, lost in [(600, 20, 31), (600, 0, 0), (100, 3, 4), (40, 12, 2), (1172, 30, 28),
                                    (1267, 61, 40), (2000, 5, 9), (30, 0, 1), (7, 3, 4), (20, 19, 0), (20, 0, 0)]:
        flips = gained + lost
        gain = max(gained, 1) / questions
        loss = max(lost, 1) / questions
        right = np.zeros(questions)
        right[:gained] = 1
        entries.append({
            "questions": questions,
            "gained": gained,
            "lost": lost,
            "error": float(np.std(right, ddof=1) / np.sqrt(questions)),
            "mcnemar_p": float(stats.binomtest(gained, flips, 0.5).pvalue) if flips else 1.0,
            "gain_rate": gain,
            "loss_rate": loss,
            "power": power(questions, gain, loss),
            "detectable": detectable(questions, flips),
            "gained_ci95": list(stats.binomtest(gained, questions).proportion_ci(0.95, "exact")),
            "flips_ci95": flips_interval(questions, gained, lost),
        })
    out = Path(__file__).resolve().parent / "accuracy.json"
    out.write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
