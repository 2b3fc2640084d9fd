#!/usr/bin/env python3
"""Running the model before planning, from outside: measured plans, feedback, resumption, overlap."""

import json
import math
import pathlib
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

DEMO = pathlib.Path(__file__).resolve().parent.parent.parent / "models/demo"
USAGE = 2
LITTLE = ("--calibration-rows", 8, "--calibration-length", 64)
BUDGET = 360_000
SIZES = {"hidden": 64, "layers": 2, "intermediate": 64, "vocab": 1536, "experts": 4}


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class Calibrate(harness.ProgramTest):
    def setUp(self):
        """A tiny model that the bundled one's tokenizer fits: sanitized builds take their time."""
        super().setUp()
        config = harness.tiny_config(**SIZES) | {"bos_token_id": 0, "eos_token_id": 0}
        self.model = harness.write_model(self.folder / "model", config=config, **SIZES)
        shutil.copy(DEMO / "tokenizer.json", self.model)

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

    def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(self):
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

    def test_a_model_is_not_scored_on_what_it_was_calibrated_on(self):
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

    def test_gptq_matches_formats_and_noise_matches_sizes(self):
        text = self.folder / "text.txt"
        text.write_text((DEMO / "heldout.txt").read_text(encoding="utf-8")[:12000],
                        encoding="utf-8")
        score = ("--text", text, "--length", 64)
        ran = self.ram("gptq", self.model, *score, *LITTLE, "--json")
        self.assertEqual(ran.status, 0, ran)
        kl = {model["name"]: model["kl_mean"] for model in ran.json["models"]}
        self.assertEqual(set(kl), {"4-128", "4-128-own", "4-64", "4-64-own", "4-32", "4-32-own",
                                   "plan", "plan-own"})
        for variant in ran.json["variants"]:
            self.assertAlmostEqual(variant["kl_mean"], kl[variant["folder"]], places=9)
            plain = kl[variant["folder"].removesuffix("-own")]
            if variant["calibration"] == "own" and plain > 0:
                ratio = kl[variant["folder"]] / plain
                self.assertAlmostEqual(variant["over_plain"]["kl_ratio"], ratio, places=6)
                self.assertLess(variant["over_plain"]["ci95"][0], ratio)
            else:
                self.assertIsNone(variant["over_plain"])
        plans = [json.loads((self.folder / "ram-gptq" / name / "plan.json").read_text())
                 for name in ("plan", "plan-own")]
        formats = [[unit["format"] for unit in plan["units"]] for plan in plans]
        self.assertEqual(formats[0], formats[1])
        ran = self.ram("noise", self.model, "ram-gptq/4-64", *score, "--seeds", 3, "--json", "--quiet")
        self.assertEqual(ran.status, 0, ran)
        ratio = ran.json["quantized"]["kl"] / ran.json["noise"]["kl_mean"]
        self.assertGreater(ratio, 0.3)
        self.assertLess(ratio, 3)
        noise = ran.json["noise"]
        self.assertEqual(len(noise["median_perplexity"]), 3)
        for mean, delta in zip(noise["mean_perplexity"], noise["delta_nll"]):
            original = ran.json["quantized"]["mean_perplexity"] / math.exp(ran.json["quantized"]["delta_nll"])
            self.assertAlmostEqual(math.log(mean / original), delta, places=9)
        self.assertRegex(ran.json["verdict"], "^the mean is (better|worse) than the original's")
        report = self.ram("report", "-o", "report.html")
        self.assertEqual(report.status, 0, report)
        page = (self.folder / "report.html").read_text(encoding="utf-8")
        self.assertIn('id="noise"', page)
        self.assertIn('id="feedback"', page)
        self.assertIn("calibrated on", page)
        self.assertRegex(page, "own rows [0-9]+ length")

    def test_a_sweep_is_measured(self):
        text = self.folder / "text.txt"
        text.write_text((DEMO / "heldout.txt").read_text(encoding="utf-8")[:12000],
                        encoding="utf-8")
        ran = self.ram("sweep", self.model, "--points", 4, "--measure", 3, "--text", text, "--length", 64,
                       "--rows", 8, "--quiet", "--json")
        self.assertEqual(ran.status, 0, ran)
        self.assertEqual(self.ram("report", "-o", "report.html").status, 0)
        self.assertIn('id="measured"', (self.folder / "report.html").read_text(encoding="utf-8"))
        measured = ran.json["measured"]
        own = [point for point in measured["points"] if not point["uniform"]]
        self.assertEqual(len(own), 3)
        self.assertGreater(len(measured["points"]), 3)
        for point in measured["points"]:
            folder = self.folder / "ram-sweep" / point["folder"]
            self.assertEqual(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
                             point["total_bytes"])
        # The least squares line, worked out again.
        x = [math.log1p(point["loss"]) for point in own]
        y = [point["mean_perplexity"] for point in own]
        mean_x, mean_y = sum(x) / 3, sum(y) / 3
        slope = (sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) /
                 sum((a - mean_x) ** 2 for a in x))
        self.assertAlmostEqual(measured["fit"]["b"], slope, places=6)
        rms = math.sqrt(sum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in zip(x, y)) / 3)
        self.assertAlmostEqual(measured["fit"]["rms"], rms, places=6)
        self.assertAlmostEqual(math.log(measured["kl_per_loss"]),
                               sum(math.log(p["kl_mean"] / p["loss"]) for p in own) / 3, places=6)
        saved = (own[0]["kl_mean"] - own[1]["kl_mean"]) * 1e6
        self.assertAlmostEqual(measured["first_step_kl_per_mb"] * (own[1]["total_bytes"] - own[0]["total_bytes"]),
                               saved, places=9)
        for options in (("--measure", 1, "--text", text), ("--measure", 3)):
            ran = self.ram("sweep", self.model, *options)
            self.assertEqual(ran.status, 2, ran)
            self.assertIn("--measure", ran.err)

    def test_options_out_of_range_are_refused(self):
        for options, word in ((("--calibration-rows", 1), "--calibration-rows"),
                              (("--calibration-length", 4), "--calibration-length"),
                              (("--probe-time", "soon"), "--probe-time"),
                              (("--calibration-inputs", "both"), "--calibration-inputs"),
                              (("--calibration", "nothing.txt"), "nothing.txt")):
            ran = self.ram("fit", self.model, "--budget", BUDGET, "-o", "out", "--method", "measured",
                           *options)
            self.assertNotEqual(ran.status, 0, ran)
            self.assertIn(word, ran.err)
            self.assertFalse((self.folder / "out").exists())


if __name__ == "__main__":
    harness.main()
