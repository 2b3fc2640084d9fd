#!/usr/bin/env python3
"""fit a second time: a request that does not match the existing folder is refused before the work, and the model
card's command makes the same folder."""

import json
import pathlib
import re
import shlex
import shutil
import sqlite3
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402
from calibration import DEMO, LITTLE, SIZES, CalibrationTest  # noqa: E402

USAGE = 2
BUDGET = 360_000


class FitAgain(CalibrationTest):
    def setUp(self):
        super().setUp()
        text = (DEMO / "heldout.txt").read_text(encoding="utf-8")
        for name, begin in (("a.txt", 0), ("b.txt", 20000)):
            (self.folder / name).write_text(text[begin : begin + 12000], encoding="utf-8")

    def fit(self, name, *options, **others):
        return self.ram("fit", self.model, "--budget", BUDGET, "-o", name, *options, **others)

    def made(self, name, *options):
        ran = self.fit(name, *options)
        self.assertEqual(ran.status, 0, ran)

    def assert_refused_before_work(self, ran, *words):
        """Even before the study is opened."""
        self.assert_refused(ran, USAGE, "--force", *words)
        self.assertFalse((self.folder / "none.db").exists())

    def test_another_text_rows_length_seed_or_limit_is_refused_before_work(self):
        self.made("out", "--effort", "best", *LITTLE)
        before = harness.files_of(self.folder / "out")
        rows, length = LITTLE[:2], LITTLE[2:]
        for options in (("--calibration-rows", 9, *length), (*rows, "--calibration-length", 65),
                        (*LITTLE, "--seed", 43), (*LITTLE, "--random-start"),
                        (*LITTLE, "--calibration", "random"), (*LITTLE, "--calibration", "a.txt"),
                        (*LITTLE, "--calibration-inputs", "original"),
                        (*LITTLE, "--time-limit", 9), (*LITTLE, "--coefficients", "noise"),
                        (*LITTLE, "--coefficients", "noise", "--probe-time", "20s")):
            ran = self.fit("out", "--effort", "best", *options, "--study", "none.db")
            self.assert_refused_before_work(ran, "made from something else")
        self.made("out", "--effort", "best", *LITTLE)
        self.assertEqual(harness.files_of(self.folder / "out"), before)

    def test_another_file_is_refused_before_work_and_the_same_under_another_name_is_not(self):
        ask = ("--encoder", "search", *LITTLE)
        self.made("out", *ask, "--calibration", "a.txt")
        ran = self.fit("out", *ask, "--calibration", "b.txt", "--study", "none.db")
        self.assert_refused_before_work(ran, "made from something else")
        (self.folder / "a.txt").rename(self.folder / "c.txt")
        again = self.fit("out", *ask, "--calibration", "c.txt")
        self.assertEqual(again.status, 0, again)
        self.assertIn("already", again.out)

    def texts_in(self, study):
        with sqlite3.connect(self.folder / study) as database:
            return database.execute("SELECT count(*) FROM calibration_text").fetchone()[0]

    def test_other_weights_names_and_carried_files_are_refused_before_the_model_runs(self):
        self.made("out", "--effort", "best", *LITTLE)
        source = self.model
        changes = {
            "weights": lambda folder: harness.write_safetensors(
                folder / "model.safetensors", harness.tiny_tensors(seed=2, **SIZES)),
            "name": lambda folder: None,
            "file": lambda folder: (folder / "vocab.txt").write_text("one file more"),
        }
        for change, apply in changes.items():
            parent = self.folder / change
            self.model = parent / ("renamed" if change == "name" else source.name)
            shutil.copytree(source, self.model)
            apply(self.model)
            ran = self.fit("out", "--effort", "best", *LITTLE, "--study", "other.db", "--quiet")
            self.assert_refused(ran, USAGE, "made from something else", "--force")
            self.assertEqual(self.texts_in("other.db"), 0, change)

    def test_quantize_refuses_an_edited_plan_over_its_folder_before_the_model_runs(self):
        self.made("out", "--effort", "best", *LITTLE)
        plan = json.loads((self.folder / "out/plan.json").read_text())
        unit = next(u for u in plan["units"] if u["format"].startswith(("5:", "6:", "8:")))
        unit["format"] = unit["format"].replace(unit["format"][0], "4", 1)
        (self.folder / "edited.json").write_text(json.dumps(plan))
        ran = self.ram("quantize", self.model, "--plan", "edited.json", "-o", "out", "--study",
                       "other.db")
        self.assert_refused(ran, USAGE, unit["name"], "--force")
        self.assertEqual(self.texts_in("other.db"), 0)

    def card_command(self, name):
        card = (self.folder / name / "README.md").read_text(encoding="utf-8")
        return re.search(r"Make it again:\n\n    (ram .*)\n", card)[1]

    def run_card(self, name, into, texts=()):
        words = shlex.split(self.card_command(name))
        known = {"OUT": into, self.model.name: self.model, "plan.json": f"{name}/plan.json",
                 **dict(texts)}
        ran = self.ram(*[known.get(word, word) for word in words[1:]], "--study", f"{into}.db")
        self.assertEqual(ran.status, 0, ran)
        self.assertEqual(harness.files_of(self.folder / into), harness.files_of(self.folder / name))

    def test_the_model_card_says_how_to_make_the_same_folder_again(self):
        cases = {
            "fast": ("--effort", "fast", "--dtype", "f16", "--pin", "*.v_proj=6:64", "--time-limit", 7),
            "best": ("--effort", "best", *LITTLE, "--seed", 7),
            "original": ("--effort", "best", *LITTLE, "--random-start",
                         "--calibration-inputs", "original"),
            "file": ("--effort", "best", *LITTLE, "--calibration", "a.txt"),
            "timed": ("--effort", "best", *LITTLE, "--coefficients", "noise", "--probe-time", "0.01s"),
        }
        for name, options in cases.items():
            self.made(name, *options)
            self.run_card(name, f"{name}-again", {"FILE": "a.txt"}.items())
        self.assertIn("quantize", self.card_command("timed"))


if __name__ == "__main__":
    harness.main()
