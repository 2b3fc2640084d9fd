#!/usr/bin/env python3
"""Runs the interop tests with an interpreter that has mlx and mlx_lm.

    run.py --ram PROGRAM [--peers] [TEST...]

--peers adds those that need transformers and torch. TEST is a name as unittest takes it,
`check_fit.Fit`.
"""

import argparse
import os
import sys
import time
import unittest
from pathlib import Path

MODULES = (
    "check_followed",
    "check_fit",
    "check_uniform",
    "check_config",
    "check_budgets",
    "check_published",
    "check_tokenizer",
    "check_logits_mlx",
)
PEERS = ("check_transformers", "check_logits", "check_perplexity")


class TimedResult(unittest.TextTestResult):
    """Says beside each test how long it took, where that is over a second."""

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def addSuccess(self, test):
        seconds = time.monotonic() - self.began
        if seconds > 1:
            self.stream.write(f"({seconds:.0f} s) ")
        super().addSuccess(test)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ram", required=True, help="the program under test")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    os.environ["RAM_PROGRAM"] = str(Path(options.ram).resolve())
    # Nothing here may ask the network for anything.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    names = options.tests or MODULES + (PEERS if options.peers else ())
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    start = time.monotonic()
    result = unittest.TextTestRunner(verbosity=2, resultclass=TimedResult).run(suite)
    print(f"interop: {result.testsRun} tests in {time.monotonic() - start:.0f} s", file=sys.stderr)
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
