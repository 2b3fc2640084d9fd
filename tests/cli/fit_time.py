#!/usr/bin/env python3
"""Which steps fit takes by itself, within a time, and the same folder again from its plan."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402
from calibration import DEMO, LITTLE, CalibrationTest  # noqa: E402

USAGE = 2
BUDGET = 360_000


class FitTime(CalibrationTest):
    def fit(self, name, *options):
        ran = self.ram("fit", self.model, "--budget", BUDGET, "-o", name, *options, "--json")
        self.assertEqual(ran.status, 0, ran)
        return ran.json

    def test_by_itself_it_measures_by_gradients_and_writes_with_feedback(self):
        found = self.fit("out", *LITTLE)
        self.assertEqual((found["method"], found["encoder"]), ("measured", "feedback"))
        self.assertEqual(found["left_out"], [])
        self.assertEqual({unit["from"] for unit in found["calibration"]["coefficients"]}, {"gradient"})
        self.assertTrue(self.fit("out", *LITTLE)["already_there"])

    def test_what_takes_too_long_is_left_out_and_named(self):
        found = self.fit("out", *LITTLE, "--time", "0.001s")
        self.assertEqual((found["method"], found["encoder"]), ("squared", "mlx"))
        self.assertEqual([one["step"] for one in found["left_out"]],
                         ["error feedback", "coefficients measured on own text"])
        for one in found["left_out"]:
            self.assertRegex(one["why"], r"about .* more|at least ")
        ran = self.ram("fit", self.model, "--budget", BUDGET, "-o", "out", *LITTLE, "--time", "1h")
        self.assertEqual(ran.status, 0, "a folder stays what it is")
        dry = self.ram("fit", self.model, "--budget", BUDGET, "-o", "new", *LITTLE, "--time", "0.001s", "--dry-run")
        self.assertIn("left out: error feedback", dry.err)

    def test_a_model_without_a_tokenizer_is_measured_on_random_ids(self):
        (self.model / "tokenizer.json").unlink()
        found = self.fit("out", *LITTLE)
        self.assertEqual(found["encoder"], "mlx")
        self.assertIn("random", found["calibration"]["text"])
        self.assertEqual(found["left_out"][0]["step"], "error feedback")
        self.assertIn("tokenizer", found["left_out"][0]["why"])

    def test_steps_are_named_or_chosen_and_not_both(self):
        for options in (("--effort", "fast"), ("--method", "squared"), ("--encoder", "mlx")):
            ran = self.ram("fit", self.model, "--budget", BUDGET, "-o", "out", "--time", "1h", *options)
            self.assert_refused(ran, USAGE, "--time")
        for time in ("soon", "0s", "5"):
            ran = self.ram("fit", self.model, "--budget", BUDGET, "-o", "out", "--time", time)
            self.assert_refused(ran, USAGE, "--time", time)

    def test_the_same_folder_is_made_elsewhere_from_its_plan(self):
        for name, options in (("chosen", LITTLE), ("fast", ("--effort", "fast")),
                              ("noise", ("--method", "measured", "--coefficients", "noise", *LITTLE)),
                              ("uniform", ("--uniform", "4:64"))):
            size = () if name == "uniform" else ("--budget", BUDGET)
            ran = self.ram("fit", self.model, *size, "-o", name, *options)
            self.assertEqual(ran.status, 0, ran)
            again = self.ram("fit", self.model, "--as", f"{name}/plan.json", "-o", f"{name}-again", "--study",
                             f"{name}.db", "--threads", 1)
            self.assertEqual(again.status, 0, again)
            files = [{p.name: p.read_bytes() for p in (self.folder / folder).iterdir() if p.name != "README.md"}
                     for folder in (name, f"{name}-again")]
            self.assertEqual(*files)
        for options in (("--budget", BUDGET), ("--effort", "best"), ("--calibration-rows", 9), ("--time", "9s")):
            ran = self.ram("fit", self.model, "--as", "chosen/plan.json", "-o", "other", *options)
            self.assert_refused(ran, USAGE, "--as")

    def test_a_plan_whose_coefficients_were_not_trusted_is_made_again_too(self):
        ask = ("fit", DEMO, "--bpw", 5, "--method", "measured", "--calibration-rows", 3, "--calibration-length", 16)
        for seed in range(1, 40):
            ran = self.ram(*ask, "--seed", seed, "-o", f"out-{seed}", "--json")
            self.assertEqual(ran.status, 0, ran)
            if not ran.json["calibration"]["trusted"]:
                break
        self.assertFalse(ran.json["calibration"]["trusted"], "no seed gave such coefficients")
        self.assertEqual(ran.json["method"], "squared")
        again = self.ram(*ask, "--seed", seed, "-o", f"out-{seed}", "--json")
        self.assertTrue(again.json["already_there"])
        other = self.ram("fit", DEMO, "--as", f"out-{seed}/plan.json", "-o", "other", "--study", "other.db", "--json")
        self.assertEqual(other.status, 0, other)
        self.assertEqual({unit["from"] for unit in other.json["calibration"]["coefficients"]}, {"gradient"})
        for name in ("plan.json", "model.safetensors"):
            self.assertEqual((self.folder / "other" / name).read_bytes(), (self.folder / f"out-{seed}" / name).read_bytes())


if __name__ == "__main__":
    harness.main()
