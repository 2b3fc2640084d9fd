#!/usr/bin/env python3
"""docs/results.md, its plot and its folders match the CSV files from which scripts/results writes them."""

import math
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
from quality import measure, page, plot  # noqa: E402
from quality.store import COLUMNS, Results  # noqa: E402

CSV = ROOT / "docs/results"


class Committed(unittest.TestCase):
    def test_page_plot_and_folders_are_what_the_script_writes(self):
        for path, text in page.files():
            self.assertEqual(path.read_text(encoding="utf-8"), text, f"{path.name}: run scripts/results page")

    def test_the_script_says_so_too(self):
        done = subprocess.run(
            [sys.executable, ROOT / "scripts/results", "page", "--check"], capture_output=True, text=True, check=False
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_the_files_are_written_as_they_are_read(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in COLUMNS:
                shutil.copy(CSV / f"{name}.csv", folder)
            Results(folder).write()
            for name in COLUMNS:
                self.assertEqual((Path(folder) / f"{name}.csv").read_bytes(), (CSV / f"{name}.csv").read_bytes(), name)

    def test_every_row_is_of_one_experiment_and_a_shown_table(self):
        results = Results(CSV)
        names = [row["experiment"] for row in results.experiments]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual({row["experiment"] for row in results.folders + results.ratios}, set(names))
        self.assertEqual({row["table"] for row in results.experiments}, {"own", "untuned", "others", "autoround", "kquants", "sizes"})

    def test_numbers_are_numbers_and_intervals_hold_their_ratio(self):
        results = Results(CSV)
        for row in results.ratios:
            self.assertGreater(float(row["against_kl"]), 0, row)
            self.assertTrue(row["method"] and (row["bits_asked"] or row["bits_per_weight"] or row["kl"]), row)
            if row["low"] or row["high"]:
                self.assertLessEqual(float(row["low"]), float(row["ratio"]), row)
                self.assertLessEqual(float(row["ratio"]), float(row["high"]), row)
        for row in results.folders:
            self.assertGreater(int(row["bytes"]), 0, row)
            self.assertLess(float(row["nll_low"]), float(row["nll_high"]), row)
            for name in ("bits_per_weight", "mean_perplexity", "median_perplexity", "kl", "same_top1_percent"):
                self.assertGreater(float(row[name]), 0, row)
        for row in results.folders + results.ratios:
            self.assertRegex(row["date"], r"^20\d\d-[01]\d-[0-3]\d$", row)
            self.assertRegex(row["commit"], r"^([0-9a-f]{7,40}\+?)?$", row)

    def test_the_readme_has_the_same_figures(self):
        shown = page.Page(Results(CSV))
        text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
        self.assertIn(f"the default has {shown.mean('own', 'default')} of its divergence", text)
        self.assertIn(f"from {shown.least('own', 'default')} to {shown.most('own', 'default')}", text)
        losses = shown.losses("own", "default")
        number = shown.number("own", "default")
        self.assertIn(f"loses in {'none' if losses == '0' else losses} of {number} cases", text)
        self.assertIn(f"`--effort best` has {shown.mean('own', 'best')}", text)
        self.assertIn(f"(`--effort fast`) {shown.mean('own', 'fast')} and lose in {shown.losses('own', 'fast')} cases", text)

    def test_the_plot_is_an_image_of_every_model(self):
        root = xml.etree.ElementTree.parse(CSV / "quality.svg").getroot()
        self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
        words = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
        self.assertLessEqual({row["model"] for row in Results(CSV).of("own")}, words)
        points = sum(1 for _ in root.iter("{http://www.w3.org/2000/svg}circle"))
        sizes = len({(r["experiment"], r["bits_asked"]) for r in Results(CSV).ratios if r["experiment"].endswith("-own")})
        self.assertEqual(points, len(plot.LINES) * sizes)


class Planted(unittest.TestCase):
    """The same checks on a copy with a fault."""

    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.root = Path(self.temporary.name)
        shutil.copytree(CSV, self.root / "docs/results")

    def change(self, name, old, new):
        path = self.root / "docs/results" / name
        text = path.read_text(encoding="utf-8")
        self.assertIn(old, text)
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def changed(self):
        committed = {path.name: path.read_text(encoding="utf-8") for path, _ in page.files()}
        return {path.name for path, text in page.files(self.root) if text != committed[path.name]}

    def test_another_ratio_changes_page_and_plot(self):
        self.assertEqual(self.changed(), set())
        self.change("ratios.csv", "best,0.0187553,0.1579,0.150026,0.165343", "best,0.0287553,0.2579,0.250026,0.265343")
        self.assertEqual(self.changed(), {"results.md", "quality.svg"})

    def test_another_perplexity_changes_the_folders(self):
        self.change("folders.csv", "96.736", "96.737")
        self.assertEqual(self.changed(), {"folders.md"})

    def test_a_missing_column_and_a_short_row_are_refused(self):
        self.change("ratios.csv", ",low,high,", ",low,")
        with self.assertRaisesRegex(SystemExit, "columns"):
            page.files(self.root)
        self.change("ratios.csv", ",low,", ",low,high,")
        self.change("ratios.csv", "0.81,0.88,", "0.88,")
        with self.assertRaisesRegex(SystemExit, "row 2 has too many or too few fields"):
            page.files(self.root)

    def test_an_unknown_directive_is_refused(self):
        self.change("page.md.in", "{{ratios own}}", "{{raitos own}}")
        with self.assertRaisesRegex(SystemExit, "raitos own"):
            page.files(self.root)

    def test_the_mean_counts_each_model_once(self):
        results = Results(self.root / "docs/results")
        for row in results.ratios:
            if row["experiment"].endswith("-own") and row["method"] == "best":
                row["ratio"] = "0.5" if row["experiment"].startswith("demo") else "0.25"
        self.assertEqual(page.Page(results).mean("own", "best"), f"{math.exp(math.log(0.25) * 0.8 + math.log(0.5) * 0.2):.2f}")


class Measured(unittest.TestCase):
    """What `measure --into` stores of a comparison, without running a model."""

    MODELS = [
        {"name": name, "bytes": 1000 + at, "bits_per_weight": 4.51234567, "mean_perplexity": 10.5, "median_perplexity": 9.25,
         "kl_mean": kl, "same_top1": 0.875, "delta_nll_ci95": [-0.001, 0.002]}
        for at, (name, kl) in enumerate((("ram 1", 0.02), ("best 1", 0.005)))
    ]  # fmt: skip
    RESULT = {
        "models": MODELS,
        "pairs": [{"a": "ram 1", "b": "best 1", "kl_ratio": 4.0, "kl_ratio_ci95": [2.0, 5.0]},
                  {"a": "reference", "b": "ram 1", "kl_ratio": None, "kl_ratio_ci95": None}],
        "noise_floor_kl": 0.0001,
        "inversions": [],
    }  # fmt: skip

    def test_a_pair_is_turned_round_and_kept(self):
        words = ["folder/toy", "text.txt", "--bpw", "4.5", "--methods", "best", "--into", "toy-own", "--note", "a, b",
                 "--ram=build/ram"]  # fmt: skip
        rows = measure.csv_rows(self.RESULT, {"ram 1": {"best": "best 1"}}, measure.parse(words), words, {"best 1": 0.25})
        with tempfile.TemporaryDirectory() as folder:
            for name in COLUMNS:
                shutil.copy(CSV / f"{name}.csv", folder)
            before = len(Results(folder).ratios)
            for _ in range(2):  # the second time, the rows replace the first ones
                results = Results(folder)
                results.replace(*rows)
                results.write()
            results = Results(folder)
        self.assertEqual(len(results.ratios), before + 1)
        row = results.rows("ratios", "toy-own")[0]
        self.assertEqual((row["against"], row["bits_asked"], row["ratio"], row["low"], row["high"], row["against_kl"]),
                         ("published", "4.5", "0.25", "0.2", "0.5", "0.02"))  # fmt: skip
        self.assertEqual([f["folder"] for f in results.rows("folders", "toy-own")], ["ram 1", "best 1"])
        self.assertEqual(results.experiments[-1]["command"],
                         "scripts/results measure folder/toy text.txt --bpw 4.5 --methods best")  # fmt: skip
        shown = page.Page(results)
        self.assertIn(">toy</text>", shown.plot())
        self.assertIn("| toy | 4.5 | 0.02000 |", shown.ratios("own"))
        self.assertIn("| best 1 | 1001 | 4.512 | 10.500 | 9.250 | 0.00500 | 87.5 % | -0.0010 to +0.0020 |", shown.folders())
        self.assertIn("Note: a, b.", shown.conditions("own"))


if __name__ == "__main__":
    unittest.main()
