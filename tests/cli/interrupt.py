#!/usr/bin/env python3
"""Ctrl-C and kills of a fit at any moment: it ends cleanly, continues later, and the files are the same."""

import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

ATTEMPTS = 6


class Interrupt(harness.ProgramTest):
    def setUp(self):
        super().setUp()
        harness.write_model(self.folder / "model", hidden=512, layers=4, intermediate=1024,
                            vocab=1024)

    def fit(self, run, *options):
        return ["fit", "model", "--effort", "fast", "--budget", "45%", "-o", f"{run}/out", "--study", f"{run}/ram.db",
                "--threads", "2", "--quiet", *options]

    def reference(self):
        (self.folder / "whole").mkdir()
        start = time.monotonic()
        ran = self.ram(*self.fit("whole"))
        self.assertEqual(ran.status, 0, ran)
        return harness.files_of(self.folder / "whole" / "out"), time.monotonic() - start

    def start(self, run):
        (self.folder / run).mkdir(exist_ok=True)
        return subprocess.Popen([harness.PROGRAM, *self.fit(run)], cwd=self.folder,
                                env=harness.environment(), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def finish_and_compare(self, run, expected):
        ran = self.ram(*self.fit(run))
        self.assertEqual(ran.status, 0, ran)
        self.assertEqual(harness.files_of(self.folder / run / "out"), expected)
        left = {p.name for p in (self.folder / run).iterdir()}
        self.assertLessEqual(left, {"out", "ram.db", "ram.db-wal", "ram.db-shm"})

    def test_ctrl_c_ends_cleanly_and_the_next_run_ends_with_the_same_files(self):
        expected, seconds = self.reference()
        interrupted = 0
        for attempt in range(ATTEMPTS):
            run = f"run-{attempt}"
            process = self.start(run)
            time.sleep(seconds * (attempt + 0.5) / ATTEMPTS)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=harness.TIMEOUT_S)
            if process.returncode == 130:
                interrupted += 1
                self.assertEqual(out, b"")
                self.assertIn(b"run the same command again", err)
                self.assertEqual(err.count(b"\n"), 1, err)
            elif process.returncode == -signal.SIGINT:
                self.assertLess(attempt, ATTEMPTS // 2, "not interrupted long after the start")
            else:
                self.assertEqual(process.returncode, 0, err)
            self.finish_and_compare(run, expected)
            shutil.rmtree(self.folder / run)
        self.assertGreater(interrupted, 0, f"no run of {seconds:.2f} s could be interrupted")

    def test_kills_at_random_moments_change_no_byte(self):
        expected, seconds = self.reference()
        rng = random.Random(7)
        killed = 0
        for _ in range(ATTEMPTS):
            process = self.start("killed")
            time.sleep(rng.uniform(0, seconds))
            process.kill()
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
        self.assertGreater(killed, 0)
        self.finish_and_compare("killed", expected)

    def test_a_reader_that_stops_reading_the_notes_harms_nothing(self):
        (self.folder / "run").mkdir()
        process = subprocess.Popen([harness.PROGRAM, *self.fit("run")], cwd=self.folder,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stderr.close()
        process.stdout.close()
        self.assertEqual(process.wait(timeout=harness.TIMEOUT_S), 0)


if __name__ == "__main__":
    harness.main()
