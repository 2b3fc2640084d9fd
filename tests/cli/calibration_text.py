#!/usr/bin/env python3
"""The calibration text and its tokenizer are checked before the long work, and only if they are needed."""

import json
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402
from calibration import DEMO, LITTLE, SIZES, CalibrationTest  # noqa: E402

MISSING, UNSUPPORTED = 3, 5
BUDGET = 360_000
UNIGRAM = {"version": "1.0", "model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 0}}
BEST = ("--budget", BUDGET, "--effort", "best", *LITTLE)
MEASURED = ("--method", "measured", *LITTLE)


class CalibrationText(CalibrationTest):
    def setUp(self):
        super().setUp()
        # More ids than the tokenizer has.
        sizes = SIZES | {"vocab": 1600}
        config = harness.tiny_config(**sizes) | {"bos_token_id": 0, "eos_token_id": 0}
        shutil.rmtree(self.model)
        harness.write_model(self.model, config=config, **sizes)
        shutil.copy(DEMO / "tokenizer.json", self.model)
        (self.folder / "t.txt").write_text("The river is wide. " * 400)

    def replace_tokenizer(self):
        (self.model / "tokenizer.json").write_text(json.dumps(UNIGRAM))

    def refused(self, status, *command):
        ran = self.ram(*command, "--study", "none.db", "--quiet")
        self.assert_refused(ran, status, "tokenizer.json")
        self.assertFalse((self.folder / "none.db").exists(), command)

    def test_a_tokenizer_that_is_needed_is_asked_for_before_work(self):
        ran = self.ram("plan", self.model, "--budget", BUDGET, "--encoder", "feedback", *LITTLE, "-o", "plan.json")
        self.assertEqual(ran.status, 0, ran)
        for status in (UNSUPPORTED, MISSING):
            if status == MISSING:
                (self.model / "tokenizer.json").unlink()
            else:
                self.replace_tokenizer()
            for text in ("own", "t.txt"):
                self.refused(status, "fit", self.model, *BEST, "--calibration", text, "-o", "out")
                self.refused(status, "fit", self.model, *BEST, "--calibration", text, "-o", "out", "--dry-run")
                self.refused(status, "plan", self.model, "--budget", BUDGET, *MEASURED, "--calibration", text)
            self.refused(status, "sweep", self.model, *MEASURED)
            self.refused(status, "sweep", self.model, "--measure", 2, "--text", "t.txt")
            self.refused(status, "gptq", self.model, "--text", "t.txt", *LITTLE)
            self.refused(status, "quantize", self.model, "--plan", "plan.json", "-o", "out")

    def test_a_tokenizer_that_is_not_needed_is_not_asked_for(self):
        self.replace_tokenizer()
        for command in (("fit", self.model, "--effort", "fast", "--budget", BUDGET, "-o", "plain"),
                        ("fit", self.model, "--effort", "fast", "--budget", BUDGET, "-o", "none", "--dry-run"),
                        ("sweep", self.model),
                        # The model fits unquantized, so it is not run.
                        ("fit", self.model, "--bpw", 16, "--effort", "best", *LITTLE, "-o", "whole")):
            self.assertEqual(self.ram(*command).status, 0, command)

    def test_random_ids_need_none(self):
        digests = set()
        for kind in ("known", "not handled", "none"):
            if kind == "not handled":
                self.replace_tokenizer()
            if kind == "none":
                (self.model / "tokenizer.json").unlink()
            ran = self.ram("fit", self.model, *BEST, "--calibration", "random", "-o", "out", "--force", "--json")
            self.assertEqual(ran.status, 0, ran)
            self.assertTrue(ran.json["verified"])
            self.assertEqual(ran.err.count("random text is drawn from all 1600 ids"), kind == "not handled", ran)
            digests.add(ran.json["calibration"]["digest"])
        # The tokenizer has fewer ids than the model; if there is a tokenizer, only its ids are drawn.
        self.assertEqual(len(digests), 2)


if __name__ == "__main__":
    harness.main()
