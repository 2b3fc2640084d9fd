#!/usr/bin/env python3
"""ram report from outside: the page has the study's numbers, loads nothing, and is valid."""

import csv
import html.parser
import io
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

DEMO = pathlib.Path(__file__).resolve().parents[2] / "models/demo"
TEXT = DEMO / "heldout.txt"
USAGE, MISSING, CORRUPT, UNSUPPORTED = 2, 3, 4, 5
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(html.parser.HTMLParser):
    """Checks that tags match, and collects CSVs, texts and addresses."""

    def __init__(self, text):
        super().__init__()
        self.open, self.problems, self.addresses, self.csv = [], [], [], {}
        self.tags = {}
        self.name = None
        self.feed(text)
        self.close()
        self.problems += [f"never closed: {tag}" for tag in self.open]

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [attributes[key] for key in ("href", "src", "action") if key in attributes]
        if tag == "details" and "data-csv" in attributes:
            self.name = attributes["data-csv"]
        self.pre = tag == "pre"

    def handle_startendtag(self, tag, attributes):
        self.tags[tag] = self.tags.get(tag, 0) + 1

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"unmatched: {tag}")

    def handle_data(self, data):
        if self.open and self.open[-1] == "pre" and self.name:
            self.csv[self.name] = self.csv.get(self.name, "") + data

    def table(self, name):
        return list(csv.DictReader(io.StringIO(self.csv[name])))


def browser():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return shutil.which(name)
    return None


class Report(harness.ProgramTest):
    def ram_ok(self, *arguments):
        ran = self.ram(*arguments, "--quiet")
        self.assertEqual(ran.status, 0, ran)
        return ran

    def fill(self):
        """A study with everything: plans, a sweep, a comparison, questions."""
        self.folders = []
        for name, options in (("u4", ("--uniform", "4:64")), ("own", ("--budget", "3MB", "--effort", "fast")),
                              ("small", ("--budget", "2.4MB", "--effort", "fast"))):
            self.ram_ok("fit", DEMO, *options, "-o", self.folder / name)
            self.folders.append(self.folder / name)
        self.ram_ok("sweep", DEMO, "--points", 8)
        compared = self.ram_ok("compare", DEMO, *self.folders, "--text", TEXT, "--length", 128,
                               "--rows", 12, "--json").json
        asked = self.ram_ok("tasks", DEMO, *self.folders, "--task", "choice", "--data",
                            DEMO / "questions.jsonl", "--limit", 30, "--json").json
        return compared, asked

    def page(self, *options):
        out = self.folder / "report.html"
        ran = self.ram("report", "-o", out, *options)
        self.assertEqual(ran.status, 0, ran)
        self.assertIn("report.html", ran.out)
        text = out.read_text(encoding="utf-8")
        page = Page(text)
        self.assertEqual(page.problems, [])
        for address in page.addresses:
            self.assertRegex(address, r"^(#|data:)", "the page must load nothing")
        return text, page

    def test_every_number_of_the_page_is_the_studys(self):
        compared, asked = self.fill()
        text, page = self.page()
        models = {row["folder"]: row for row in page.table("models")}
        self.assertEqual(set(models), {"demo", "u4", "own", "small"})
        self.assertEqual(float(models["demo"]["mean perplexity"]),
                         compared["reference_model"]["mean_perplexity"])
        for model in compared["models"]:
            row = models[model["name"]]
            for ours, theirs in (("mean perplexity", "mean_perplexity"),
                                 ("median perplexity", "median_perplexity"),
                                 ("change of mean, nats", "delta_nll"), ("KL", "kl_mean"),
                                 ("KL median", "kl_median"), ("same first choice", "same_top1"),
                                 ("bits per weight", "bits_per_weight"), ("bytes", "bytes")):
                self.assertAlmostEqual(float(row[ours]), model[theirs], places=12, msg=ours)
            self.assertAlmostEqual(float(row["95 % from"]), model["delta_nll_ci95"][0], places=12)
            self.assertAlmostEqual(float(row["95 % to"]), model["delta_nll_ci95"][1], places=12)
            for row, expected in zip(page.table("rows"), model["rows"]):
                self.assertEqual(int(row["row"]), expected["row"])
                self.assertEqual(float(row[f"{model['name']}, nats"]), expected["nll_sum"])
        tasks = {row["folder"]: row for row in page.table("task-choice")}
        for model in asked["models"]:
            self.assertEqual(float(tasks[model["name"]]["accuracy"]), model["tasks"][0]["accuracy"])
            self.assertEqual(float(tasks[model["name"]]["95 % from"]), model["tasks"][0]["ci95"][0])
        pairs = {frozenset((row["a"], row["b"])): row for row in page.table("pairs-choice")}
        self.assertEqual(len(pairs), 6)
        for pair in asked["pairs"]:
            row = pairs[frozenset((pair["a"], pair["b"]))]
            sign = 1 if row["a"] == pair["a"] else -1
            self.assertAlmostEqual(sign * float(row["difference, points"]), pair["difference"])
            self.assertEqual({int(row["gained"]), int(row["lost"])}, {pair["gained"], pair["lost"]})
            self.assertEqual(float(row["p (McNemar)"]), pair["mcnemar_p"])
            self.assertEqual(float(row["p (Holm)"]), pair["p_holm"])
            self.assertEqual(float(row["detectable, points"]), pair["detectable"])
        self.assertEqual(len(page.table("plan-own")), len(page.table("plan-small")))
        self.assertEqual(len(page.table("sweep-squared")), 8)
        self.assertNotIn('class="missing"', text)
        self.assertGreater(page.tags["circle"], 10)

        # The same study gives the same page.
        self.assertEqual(self.page()[0], text)
        self.look(self.folder / "report.html")

    def look(self, path):
        """In a browser, if one is installed: no message on the console, nothing wider than a phone."""
        program = browser()
        if program is None:
            print("skipped: no chromium is installed to open the page", file=sys.stderr)
            return
        probe = self.folder / "probe.html"
        probe.write_text(path.read_text(encoding="utf-8").replace(
            "</body>", "<script>document.title='width '+document.documentElement.scrollWidth+' of '+"
                       "innerWidth</script></body>"), encoding="utf-8")
        for width in (1280, 500):
            ran = subprocess.run(
                [program, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                 "--log-level=0", f"--user-data-dir={self.folder / 'browser'}",
                 f"--window-size={width},900", "--dump-dom", probe.as_uri()],
                capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(self.folder)})
            self.assertNotIn("CONSOLE", ran.stderr)
            found = re.search(r"<title>width (\d+) of (\d+)</title>", ran.stdout)
            self.assertIsNotNone(found, ran.stderr[-500:])
            self.assertLessEqual(int(found[1]), int(found[2]), "the page scrolls sideways")

    def test_each_folder_has_its_own_rows_and_what_is_left_out_is_listed(self):
        for name, size in (("u4", "--uniform=4:64"), ("u8", "--uniform=8:64"), ("one", "--budget=2.4MB"),
                           ("away", "--budget=3MB")):
            options = () if "uniform" in size else ("--effort", "fast")
            self.ram_ok("fit", DEMO, size, *options, "-o", self.folder / name)
        other = self.folder / "other.txt"
        other.write_text(TEXT.read_text(encoding="utf-8")[:20000], encoding="utf-8")
        length = ("--length", 128)
        full = self.ram_ok("compare", DEMO, self.folder / "u4", self.folder / "u8", "--text", TEXT, *length,
                           "--rows", 12, "--json").json
        self.ram_ok("compare", DEMO, self.folder / "one", "--text", TEXT, *length, "--rows", 1)
        self.ram_ok("compare", DEMO, self.folder / "away", "--text", other, *length, "--rows", 5)
        text, page = self.page()
        models = {row["folder"]: row for row in page.table("models")}
        for model in full["models"]:
            self.assertAlmostEqual(float(models[model["name"]]["KL"]), model["kl_mean"], places=12)
            self.assertEqual(models[model["name"]]["rows"], "12")
        self.assertEqual(list(models["u4"])[:5], ["folder", "KL", "KL from", "KL to", "same first choice"])
        self.assertNotIn("away", models)
        self.assertIn("In the study, but not on this page: ", text)
        self.assertIn("away (seen on other.txt)", text)
        self.assertIn("rows of heldout.txt", text)
        self.assertNotIn(str(self.folder), text)
        commands = page.table("commands")
        self.assertGreaterEqual(len(commands), 7)
        for row in commands:  # no command leaves a path in the study
            self.assertNotIn("/", row["asked to do"])
        chosen, page = self.page("--text", "other.txt")
        self.assertEqual({row["folder"] for row in page.table("models")}, {"demo", "away"})
        self.assertIn("rows of other.txt", chosen)
        ran = self.ram("report", "-o", self.folder / "none.html", "--text", "nothing.txt")
        self.assertEqual(ran.status, MISSING, ran)
        self.assertIn("heldout.txt, other.txt", ran.err)

    def test_two_at_once_on_one_output_leave_the_page_of_one(self):
        self.ram_ok("sweep", DEMO, "--points", 4)
        # The commands name the study as typed, so the pages differ.
        alone = set()
        for study in ("ram.db", "./ram.db"):
            self.ram_ok("report", "-o", "alone.html", "--study", study)
            alone.add((self.folder / "alone.html").read_bytes())
        self.assertEqual(len(alone), 2)
        before = sorted(os.listdir(self.folder))
        for _ in range(5):
            both = [subprocess.Popen([harness.PROGRAM, "report", "-o", "both.html", "--study", study, "--quiet"],
                                     cwd=self.folder, env=harness.environment(), stdout=subprocess.DEVNULL,
                                     stderr=subprocess.PIPE) for study in ("ram.db", "./ram.db")]
            for one in both:
                err = one.communicate(timeout=harness.TIMEOUT_S)[1]
                self.assertEqual((one.returncode, err), (0, b""))
            self.assertIn((self.folder / "both.html").read_bytes(), alone)
            (self.folder / "both.html").unlink()
        self.assertEqual(sorted(name for name in os.listdir(self.folder) if not name.startswith("ram.db-")),
                         [name for name in before if not name.startswith("ram.db-")])

    def test_sections_without_data_name_the_command_that_fills_them(self):
        self.ram_ok("sweep", DEMO, "--points", 4)
        text, _ = self.page()
        for command in ("ram compare", "ram tasks", "ram fit"):
            self.assertIn(f"<code>{command}", text)
        self.assertNotIn("<code>ram sweep", text)

    def test_names_from_files_cannot_become_markup(self):
        evil = self.folder / '<img src=x onerror=alert(1)>&"'
        shutil.copytree(DEMO, evil)
        self.ram_ok("perplexity", evil, "--text", TEXT, "--length", 128, "--rows", 2)
        text, page = self.page()
        self.assertNotIn("<img", text)
        self.assertIn("&lt;img src=x onerror=alert(1)&gt;&amp;&quot;", text)
        self.assertNotIn("img", page.tags)

    def test_a_report_that_cannot_be_made_is_one_clear_line(self):
        out = self.folder / "report.html"
        for status, says, prepare in (
                (MISSING, "not there", lambda study: None),
                (MISSING, "nothing to report yet", self.empty),
                (UNSUPPORTED, "later version", self.later),
                (CORRUPT, "not a study", lambda study: sqlite3.connect(study).execute(
                    "CREATE TABLE mine (x)").connection.commit())):
            study = self.folder / f"{says.replace(' ', '-')}.db"
            prepare(study)
            ran = self.ram("report", "-o", out, "--study", study)
            self.assertEqual(ran.status, status, ran)
            self.assertIn(says, ran.err)
            self.assertFalse(out.exists())
        self.ram_ok("sweep", DEMO, "--points", 4)
        ran = self.ram("report", "-o", out, "--json")
        self.assertEqual((ran.status, ran.json["out"]), (0, str(out)), ran)
        self.assertEqual(ran.json["bytes"], out.stat().st_size)
        self.assertEqual(self.ram("report", "-o", "-", "--json").status, USAGE)

    def empty(self, study):
        self.ram_ok("sweep", DEMO, "--points", 4, "--study", study)
        with sqlite3.connect(study) as database:
            for table in ("document", "model"):
                database.execute(f"DELETE FROM {table}")

    def later(self, study):
        self.empty(study)
        with sqlite3.connect(study) as database:
            database.execute("PRAGMA user_version = 1000")


if __name__ == "__main__":
    harness.main()
