#!/usr/bin/env python3
"""The controlled experiments, from outside: ram gptq, ram noise, ram sweep --measure, and the report of them."""

import json
import math
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402
from calibration import DEMO, LITTLE, SIZES, CalibrationTest  # noqa: E402


class Experiments(CalibrationTest):
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

    def test_noise_in_a_model_that_changes_meanwhile_is_not_kept(self):
        model = shutil.copytree(DEMO, self.folder / "demo")
        score = ("--text", DEMO / "heldout.txt", "--length", 128, "--rows", 8, "--threads", 1)
        self.assertEqual(self.ram("fit", model, "--uniform", "4:64", "-o", "out").status, 0)
        self.assertEqual(self.ram("compare", model, "out", *score).status, 0)
        process = subprocess.Popen(
            [harness.PROGRAM, *map(str, ("noise", model, "out", *score, "--seeds", 40, "--quiet"))],
            cwd=self.folder, env=harness.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(1.5)  # it is drawing noise: the comparison's inputs are known
        with open(model / "model.safetensors", "r+b") as file:
            file.seek(3_000_000)
            file.write(bytes(1_000_000))
        out, err = process.communicate(timeout=harness.TIMEOUT_S)
        self.assertEqual((process.returncode, out), (4, b""), err)
        self.assertIn(b"changed", err)
        with sqlite3.connect(self.folder / "ram.db") as study:
            self.assertEqual(study.execute("SELECT count(*) FROM document WHERE kind = 'noise'").fetchall(), [(0,)])

    def test_folders_of_a_model_that_changes_meanwhile_are_not_compared_with_it(self):
        text = ("--text", DEMO / "heldout.txt", "--length", 128, "--rows", 8, "--threads", 1, "--quiet")
        for kind, command, last in (("gptq", ("gptq", "copy", *text, *LITTLE), "ram-gptq/plan-own"),
                                    ("measured_sweep", ("sweep", "copy", "--measure", 2, *text),
                                     "ram-sweep/uniform-8-64")):
            model = shutil.copytree(self.model, self.folder / "copy")
            process = subprocess.Popen([harness.PROGRAM, *map(str, command)], cwd=self.folder,
                                       env=harness.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            while process.poll() is None and not (self.folder / last).exists():
                time.sleep(0.002)
            with open(model / "model.safetensors", "r+b") as file:
                file.seek(-1000, 2)
                file.write(bytes(1000))
            out, err = process.communicate(timeout=harness.TIMEOUT_S)
            self.assertEqual((process.returncode, out), (4, b""), (kind, err))
            self.assertIn(b"changed", err)
            with sqlite3.connect(self.folder / "ram.db") as study:
                kept = study.execute("SELECT count(*) FROM document WHERE kind = ?", (kind,)).fetchone()
            self.assertEqual(kept, (0,))
            shutil.rmtree(model)

    def test_a_text_to_calibrate_on_and_to_score_is_refused_before_work(self):
        text = self.folder / "text.txt"
        text.write_text((DEMO / "heldout.txt").read_text(encoding="utf-8")[:4000], encoding="utf-8")
        shutil.copy(text, self.folder / "copy.txt")
        score = ("--text", text, "--length", 64, "--study", "none.db")
        for command in (("gptq", self.model, "--real", "copy.txt"),
                        ("gptq", self.model, "--calibration", "copy.txt"),
                        ("sweep", self.model, "--measure", 2, "--method", "measured", "--calibration",
                         "copy.txt")):
            self.assert_refused(self.ram(*command, *score, *LITTLE), 2, "text.txt", "copy.txt")
            self.assertFalse((self.folder / "none.db").exists())

    def test_a_text_that_is_not_there_is_refused_before_work(self):
        score = ("--text", "none.txt", "--length", 64, "--study", "none.db")
        for command in (("gptq", self.model), ("sweep", self.model, "--measure", 3)):
            self.assert_refused(self.ram(*command, *score), 3, "none.txt")
            self.assertFalse((self.folder / "none.db").exists())
            self.assertFalse((self.folder / f"ram-{command[0]}").exists())

    def test_sizes_that_hardly_differ_have_folders_of_their_own(self):
        text = self.folder / "text.txt"
        text.write_text((DEMO / "heldout.txt").read_text(encoding="utf-8")[:4000], encoding="utf-8")
        sizes = SIZES | {"hidden": 128, "intermediate": 128}  # groups of 128 fit; those of 64 take a little more
        config = harness.tiny_config(**sizes) | {"bos_token_id": 0, "eos_token_id": 0}
        model = harness.write_model(self.folder / "wide", config=config, **sizes)
        shutil.copy(DEMO / "tokenizer.json", model)
        ran = self.ram("sweep", model, "--min-bits", 8, "--measure", 30, "--text", text, "--length", 64,
                       "--rows", 2, "--quiet", "--json")
        self.assertEqual(ran.status, 0, ran)
        points = ran.json["measured"]["points"]
        names = [point["folder"] for point in points]
        self.assertEqual(len(set(names)), len(names), names)
        self.assertLess(len({f"{point['bits_per_weight']:.2f}" for point in points}), len(points),
                        "no two sizes share two decimals: nothing was tested")
        for point in points:
            plan = json.loads((self.folder / "ram-sweep" / point["folder"] / "plan.json").read_text())
            self.assertEqual(plan["total_bytes"], point["total_bytes"])
            if not point["uniform"]:
                self.assertAlmostEqual(plan["objective"], point["loss"], places=9)

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
        # The least squares line, computed independently.
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


if __name__ == "__main__":
    harness.main()
