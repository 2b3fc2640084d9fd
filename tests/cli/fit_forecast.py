#!/usr/bin/env python3
"""What fit reports before and during the work, and about the result."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402
from calibration import LITTLE, CalibrationTest  # noqa: E402

BUDGET = 360_000
FAST = ["analyze", "write", "verify"]
BEST = ["analyze", "write text", "measure coefficients", "sample the encoder", "compress", "write",
        "verify"]


class Forecast(CalibrationTest):
    def fit(self, *options, budget=BUDGET):
        ran = self.ram("fit", self.model, "--budget", budget, "-o", "out", *options)
        self.assertEqual(ran.status, 0, ran)
        return ran

    def test_a_dry_run_names_all_stages_and_writes_nothing(self):
        for options, names in ((("--effort", "fast"), FAST), (("--effort", "best", *LITTLE), BEST)):
            ran = self.fit("--dry-run", *options)
            for name in names:
                self.assertIn(name, ran.out)
            found = self.fit("--dry-run", "--json", *options).json
            self.assertTrue(found["dry_run"])
            self.assertEqual([stage["stage"] for stage in found["stages"]], names)
            self.assertAlmostEqual(sum(stage["seconds"] for stage in found["stages"]),
                                   found["seconds"])
            for stage in found["stages"]:
                self.assertGreaterEqual(stage["seconds"], 0)
                self.assertGreater(stage["memory_bytes"], 0)
            self.assertGreaterEqual(found["disk_bytes"], BUDGET * (1 if names == FAST else 2))
        self.assertEqual([path.name for path in self.folder.iterdir()], [self.model.name])

    def test_a_dry_run_refuses_what_fit_would_refuse_at_once(self):
        self.fit("--effort", "fast")
        ran = self.ram("fit", self.model, "--budget", BUDGET + 1, "-o", "out", "--dry-run")
        self.assert_refused(ran, 2, "--force")

    def test_known_results_take_no_time(self):
        self.fit("--effort", "best", *LITTLE)
        found = self.fit("--effort", "best", *LITTLE, "--dry-run", "--json").json
        known = {stage["stage"]: stage["seconds"] for stage in found["stages"]}
        self.assertEqual((known["analyze"], known["write text"]), (0, 0))

    def test_long_work_is_estimated_before_and_best_always(self):
        ran = self.fit("--effort", "best", *LITTLE, "--json")
        first = ran.err.splitlines()[0]
        self.assertIn("stage", first)
        self.assertIn("memory", first)
        self.assertEqual([stage["stage"] for stage in ran.json["forecast"]["stages"]], BEST)
        quiet = self.fit("--effort", "best", *LITTLE, "--quiet", "--json")
        self.assertEqual(quiet.err, "")

    def test_a_probe_time_that_cannot_be_kept_is_named_before(self):
        noise = ("--coefficients", "noise")
        ran = self.fit("--effort", "best", *LITTLE, *noise, "--probe-time", "0.001s")
        before = ran.err.split("measuring ")[1]
        self.assertIn("more than --probe-time", before)
        generous = self.fit("--effort", "best", *LITTLE, *noise, "--probe-time", "1h", "--force")
        self.assertNotIn("more than --probe-time", generous.err)

    def test_the_loss_has_a_scale(self):
        ran = self.fit("--effort", "fast")
        line = next(line for line in ran.out.splitlines() if line.startswith("loss "))
        self.assertIn("times that of uniform", line)
        self.assertIn("ram compare", ran.out.split("next:")[1])
        document = self.fit("--effort", "fast", "--json").json
        beside = document["uniform"]
        self.assertLessEqual(beside["total_bytes"], document["total_bytes"])
        self.assertAlmostEqual(beside["loss_ratio"], document["objective"] / beside["loss"])
        self.assertLess(beside["loss_ratio"], 1)
        self.assertTrue(0 < document["limit"] < document["objective"])
        bits, group = beside["format"].split(":")
        uniform = self.ram("plan", self.model, "--uniform", f"{bits}:{group}", "--json").json
        self.assertEqual(uniform["total_bytes"], beside["total_bytes"])
        self.assertAlmostEqual(uniform["objective"], beside["loss"])
        self.assertNotIn("predicted_kl", document)

    def test_a_measured_plan_says_its_kl_beside_the_uniform_ones(self):
        plain = self.fit("--method", "measured", *LITTLE, "--json").json
        if plain["calibration"]["trusted"]:
            self.assertEqual(plain["predicted_kl"], plain["objective"])
            self.assertGreater(plain["uniform"]["predicted_kl"], plain["predicted_kl"])
            out = self.fit("--method", "measured", *LITTLE).out
            self.assertIn("predicted KL", out)
            self.assertIn("uniform", out)
        best = self.fit("--effort", "best", *LITTLE, "--force", "--json").json
        self.assertGreater(best["kl"], 0)
        self.assertEqual(best["kl"], best["calibration"]["kl"])
        self.assertIn("measured KL", self.fit("--effort", "best", *LITTLE).out)

    def test_a_budget_above_the_source_says_that_it_fits_unquantized(self):
        size = harness.folder_bytes(self.model)
        ran = self.fit("--effort", "fast", budget=2 * size)
        self.assertIn("fits unquantized", ran.out)
        self.assertNotIn("less loss", ran.out)
        before = harness.files_of(self.folder / "out")
        best = self.fit("--effort", "best", *LITTLE, budget=2 * size)
        self.assertIn("fits unquantized", best.out + best.err)
        self.assertEqual(harness.files_of(self.folder / "out"), before)


if __name__ == "__main__":
    harness.main()
