#!/usr/bin/env python3
"""Running the model before planning, from outside: measured plans, feedback, resumption, overlap."""

import json
import os
import pathlib
import signal
import sqlite3
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402
from calibration import DEMO, LITTLE, CalibrationTest  # noqa: E402

USAGE, WRITE_FAILED = 2, 7
BUDGET = 360_000


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class Calibrate(CalibrationTest):
    def fit(self, name, *options):
        ran = self.ram("fit", self.model, "--budget", BUDGET, "-o", name, *LITTLE, *options, "--json")
        self.assertEqual(ran.status, 0, ran)
        return ran.json

    def test_best_effort_keeps_the_budget_is_verified_and_says_what_it_was_calibrated_on(self):
        found = self.fit("best", "--effort", "best")
        self.assertEqual((found["method"], found["encoder"]), ("measured", "feedback"))
        self.assertLessEqual(found["total_bytes"], BUDGET)
        self.assertEqual(harness.folder_bytes(self.folder / "best"), found["total_bytes"])
        self.assertTrue(found["verified"])
        self.assertEqual(found["objective"], found["lower_bound"])
        calibration = found["calibration"]
        self.assertEqual(calibration["tokens"], 8 * 64)
        for unit in calibration["coefficients"]:
            self.assertGreater(unit["log_error"], 0)
        plan = json.loads((self.folder / "best/plan.json").read_text())
        self.assertIn(calibration["digest"], plan["request"]["calibration"])
        self.assertIn(" sequential ", plan["request"]["calibration"])
        self.assertEqual(len(plan["request"]["format_gains"]), 18)
        for unit in plan["units"]:
            self.assertEqual("gain" in unit, unit["prior"] is not None, unit)
        self.assertFalse((self.folder / ".best.ram-encoded").exists())
        ran = self.ram("verify", "best", "--source", self.model, "--json")
        self.assertEqual(ran.json["problems"], [])

    def test_the_bytes_do_not_depend_on_threads_and_plan_and_quantize_give_what_fit_gives(self):
        self.fit("one", "--effort", "best", "--threads", 1, "--study", "one.db")
        self.fit("two", "--effort", "best", "--threads", 2, "--study", "two.db")
        self.assertEqual(content(self.folder / "one"), content(self.folder / "two"))
        options = ("--method", "measured", "--encoder", "feedback", *LITTLE)
        ran = self.ram("plan", self.model, "--budget", BUDGET, "-o", "plan.json", *options)
        self.assertEqual(ran.status, 0, ran)
        ran = self.ram("quantize", self.model, "--plan", "plan.json", "-o", "three")
        self.assertEqual(ran.status, 0, ran)
        self.assertEqual(content(self.folder / "one"), content(self.folder / "three"))

    def test_coefficients_by_gradients_are_recorded_and_repeated(self):
        options = ("--method", "measured", "--coefficients", "gradient")
        found = self.fit("one", *options, "--threads", 1, "--study", "one.db")
        units = found["calibration"]["coefficients"]
        self.assertTrue(units)
        for unit in units:
            self.assertEqual(unit["from"], "gradient")
            self.assertGreater(unit["coefficient"], 0, unit)
        self.fit("two", *options, "--threads", 2, "--study", "two.db")
        self.assertEqual(content(self.folder / "one"), content(self.folder / "two"))
        plan = json.loads((self.folder / "one/plan.json").read_text())
        self.assertEqual(plan["request"]["coefficients"], "gradient")
        ran = self.ram("fit", self.model, "--budget", BUDGET, "-o", "one", *LITTLE, "--method", "measured",
                       "--coefficients", "noise")
        self.assertNotEqual(ran.status, 0, "it was made with other coefficients")

    def test_a_killed_run_continues_and_ends_with_the_same_bytes(self):
        self.fit("whole", "--effort", "best", "--study", "whole.db")
        command = [harness.PROGRAM, "fit", str(self.model), "--budget", str(BUDGET), "-o", "cut",
                   "--effort", "best", "--study", "cut.db", *map(str, LITTLE)]
        for seconds in (0.1, 0.2, 0.4, 0.8):
            running = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            time.sleep(seconds)
            running.send_signal(signal.SIGKILL)
            running.wait()
        self.fit("cut", "--effort", "best", "--study", "cut.db")
        self.assertEqual(content(self.folder / "whole"), content(self.folder / "cut"))

    def test_a_model_is_not_scored_on_its_calibration_text(self):
        text = self.folder / "text.txt"
        lines = (DEMO / "heldout.txt").read_text(encoding="utf-8")
        text.write_text(lines[:20000], encoding="utf-8")
        part = self.folder / "part.txt"
        part.write_text(lines[40000:44000] + lines[2000:6000], encoding="utf-8")
        other = self.folder / "other.txt"
        other.write_text(lines[40000:52000], encoding="utf-8")
        self.fit("out", "--encoder", "feedback", "--calibration", text)
        score = ("--length", 64)
        for bad in (text, part):
            for command in (("perplexity", "out"), ("compare", self.model, "out")):
                ran = self.ram(*command, "--text", bad, *score)
                self.assert_refused(ran, USAGE, "calibrated on", bad.name)
        ran = self.ram("compare", self.model, "out", "--text", other, *score)
        self.assertEqual(ran.status, 0, ran)

    def own_text(self, study):
        """The calibration text that the model wrote, as a text file."""
        with sqlite3.connect(self.folder / study) as db:
            (ids, length), = db.execute("SELECT ids, row_length FROM calibration_text")
        ids = struct.unpack(f"<{len(ids) // 4}i", ids)
        rows = [" ".join(map(str, ids[at:at + length])) for at in range(0, len(ids), length)]
        text = self.folder / "own.txt"
        text.write_bytes(b"\n\n".join(self.ram("tokenize", self.model, "--decode",
                                               input=row.encode()).out.encode() for row in rows))
        return text

    def test_nor_on_the_calibration_text_that_it_wrote_itself(self):
        ran = self.ram("fit", self.model, "--budget", BUDGET, "-o", "out", "--encoder", "feedback",
                       "--calibration-rows", 8, "--calibration-length", 160)
        self.assertEqual(ran.status, 0, ran)
        own = self.own_text("ram.db")
        for command in (("perplexity", "out"), ("compare", self.model, "out")):
            ran = self.ram(*command, "--text", own, "--length", 64)
            self.assert_refused(ran, USAGE, "calibrated on", "own.txt", "seed 42")
        # The model writes other texts with `generate` and the same seed, and with the next seed.
        for seed in (42, 43):
            ran = self.ram("generate", self.model, "--from-nothing", 8, "--max-tokens", 160, "--seed", seed)
            self.assertEqual(ran.status, 0, ran)
            (self.folder / "other.txt").write_text(ran.out, encoding="utf-8")
            ran = self.ram("perplexity", "out", "--text", "other.txt", "--length", 64)
            self.assertEqual(ran.status, 0, ran)

    def test_a_second_program_at_the_same_output_is_refused_at_once(self):
        work = ("fit", str(self.model), "--budget", str(BUDGET), "-o", "out", "--effort", "best",
                "--calibration-rows", "64", "--calibration-length", "256")
        first = subprocess.Popen([harness.PROGRAM, *work, "--study", "first.db", "--quiet"],
                                 cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        lock = self.folder / ".out.ram-encoded/lock"
        while not lock.exists() and first.poll() is None:
            time.sleep(0.01)
        self.assertIsNone(first.poll(), "it finished before the second could start")
        ran = self.ram(*work, "--study", "second.db", "--quiet")
        self.assert_refused(ran, USAGE, "another program")
        _, err = first.communicate(timeout=harness.TIMEOUT_S)
        self.assertEqual(first.returncode, 0, err)
        self.assertEqual(self.ram("verify", "out", "--source", self.model).status, 0)
        self.assertFalse(lock.parent.exists())

    def small_disk(self, size):
        """A separate file system in the test's folder; `size` in the form that mount reads."""
        disk = self.folder / "disk"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)],
                                 capture_output=True, check=False)
        if mounted.returncode != 0:
            self.skipTest("skipped: this user cannot mount a small disk")
        self.addCleanup(subprocess.run, ["umount", "-l", str(disk)], check=False)
        return disk

    def test_compressed_units_need_no_space_again(self):
        disk = self.small_disk("64m")
        self.fit("whole", "--effort", "best", "--study", "whole.db")
        size = harness.folder_bytes(self.folder / "whole")
        command = [harness.PROGRAM, "fit", str(self.model), "--budget", str(BUDGET), "-o", "disk/out",
                   "--effort", "best", "--study", "cut.db", *map(str, LITTLE)]
        store = disk / ".out.ram-encoded"
        running = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        while running.poll() is None and (not store.exists() or harness.folder_bytes(store) < size / 2):
            time.sleep(0.001)
        running.kill()
        running.wait()
        if not store.exists():
            self.skipTest("skipped: it finished before it could be killed")
        held = harness.folder_bytes(store)
        # The missing bytes, and some pages that the file system rounds up: less than twice the size.
        free = 2 * size - held + 200_000
        filler = disk / "filler"
        with open(filler, "wb") as file:
            room = os.statvfs(disk)
            file.write(b"x" * max(0, room.f_bavail * room.f_frsize - free))
        self.fit("disk/out", "--effort", "best", "--study", "cut.db")
        self.assertEqual(content(self.folder / "whole"), content(disk / "out"))

    def test_space_for_compressed_units_is_asked_for_before_the_model_runs(self):
        disk = self.small_disk("560k")
        ran = self.ram("fit", self.model, "--budget", BUDGET, "-o", "disk/out", "--effort", "best",
                       *LITTLE, "--study", "s.db", "--quiet")
        self.assert_refused(ran, WRITE_FAILED, "disk/out", "compressed units")
        with sqlite3.connect(self.folder / "s.db") as study:
            self.assertEqual(study.execute("SELECT count(*) FROM calibration_text").fetchone()[0], 0)
        self.assertEqual(list(disk.iterdir()), [])

    def test_options_out_of_range_are_refused(self):
        for options, word in ((("--calibration-rows", 1), "--calibration-rows"),
                              (("--calibration-length", 4), "--calibration-length"),
                              (("--probe-time", "soon"), "--probe-time"),
                              (("--coefficients", "guess"), "--coefficients"),
                              (("--coefficients", "gradient", "--probe-time", "9s"), "--probe-time"),
                              (("--calibration-inputs", "both"), "--calibration-inputs"),
                              (("--calibration", "nothing.txt"), "nothing.txt")):
            ran = self.ram("fit", self.model, "--budget", BUDGET, "-o", "out", "--method", "measured",
                           *options)
            self.assertNotEqual(ran.status, 0, ran)
            self.assertIn(word, ran.err)
            self.assertFalse((self.folder / "out").exists())


if __name__ == "__main__":
    harness.main()
