#!/usr/bin/env python3
"""Runs the interop tests with an interpreter that has mlx and mlx_lm.

    run.py --ram PROGRAM [--peers] [--jobs N] [TEST...]

--peers adds those that need transformers and torch. TEST is a name as unittest takes it,
`check_fit.Fit`. With --jobs N tests of N modules run at a time, each module in its own process,
whose output is printed when it ends.
"""

import argparse
import os
import subprocess
import sys
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MODULES = (
    "check_tokenizer",  # takes longest, and uses all processors
    "check_followed",
    "check_fit",
    "check_uniform",
    "check_config",
    "check_budgets",
    "check_published",
    "check_logits_mlx",
)
PEERS = ("check_transformers", "check_logits", "check_perplexity", "check_gradients")


class TimedResult(unittest.TextTestResult):
    """Prints how long a test took, if that is over a second."""

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def addSuccess(self, test):
        seconds = time.monotonic() - self.began
        if seconds > 1:
            self.stream.write(f"({seconds:.0f} s) ")
        super().addSuccess(test)


def run_module(ram, name):
    """@return its exit status."""
    done = subprocess.run([sys.executable, __file__, "--ram", ram, name],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    sys.stderr.buffer.write(done.stdout)
    sys.stderr.flush()
    return done.returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ram", required=True, help="the program under test")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="modules at a time")
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    os.environ["RAM_PROGRAM"] = str(Path(options.ram).resolve())
    # Nothing here may use the network.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    names = options.tests or MODULES + (PEERS if options.peers else ())
    start = time.monotonic()
    if options.jobs > 1 and len(names) > 1:
        with ThreadPoolExecutor(options.jobs) as pool:
            statuses = list(pool.map(lambda name: run_module(options.ram, name), names))
        print(f"interop: {len(names)} modules in {time.monotonic() - start:.0f} s", file=sys.stderr)
        sys.exit(1 if any(statuses) else 0)
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    result = unittest.TextTestRunner(verbosity=2, resultclass=TimedResult).run(suite)
    print(f"interop: {result.testsRun} tests in {time.monotonic() - start:.0f} s", file=sys.stderr)
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
