#!/usr/bin/env python3
"""ram perplexity and ram compare from outside: documents, tables, what is kept, garbage, bad input."""

import hashlib
import json
import math
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

DEMO = pathlib.Path(__file__).resolve().parent.parent.parent / "models/demo"
TEXT = DEMO / "heldout.txt"
USAGE, MISSING, CORRUPT, UNSUPPORTED = 2, 3, 4, 5
GARBAGE = "qxzjkvwb{}[]#$%&@;~^_=+/0123456789"


def changed_demo(folder, change):
    """A copy of the demo model after change(folder)."""
    shutil.copytree(DEMO, folder)
    change(folder)
    return folder


class Evaluate(harness.ProgramTest):
    def document(self, *arguments):
        ran = self.ram(*arguments, "--json")
        self.assertEqual(ran.status, 0, ran)
        return ran.json

    def perplexity(self, *options, model=DEMO, text=TEXT):
        return self.document("perplexity", model, "--text", text, "--length", 128, *options)

    def compressed(self, fmt):
        out = self.folder / f"demo-{fmt.replace(':', '-')}"
        ran = self.ram("fit", DEMO, "--uniform", fmt, "-o", out, "--quiet")
        self.assertEqual(ran.status, 0, ran)
        return out

    def short_text(self, characters, name="short.txt"):
        path = self.folder / name
        path.write_text(TEXT.read_text(encoding="utf-8")[:characters], encoding="utf-8")
        return path

    def test_perplexity_says_all_that_the_contract_names_and_it_adds_up(self):
        found = self.perplexity("--rows", 6)
        for key in ("model", "text_sha256", "length", "seed", "rows_total", "rows_used", "tokens",
                    "mean_perplexity", "median_perplexity", "trimmed_perplexity", "outlier_rows"):
            self.assertIn(key, found)
        self.assertEqual(found["text_sha256"], hashlib.sha256(TEXT.read_bytes()).hexdigest())
        self.assertEqual((found["length"], found["seed"], found["rows_used"]), (128, 42, 6))
        self.assertEqual(found["tokens"], 6 * 127)
        rows = [row["row"] for row in found["rows"]]
        self.assertEqual(rows, sorted(set(rows)))
        self.assertLess(rows[-1], found["rows_total"])
        mean = sum(row["nll_sum"] for row in found["rows"]) / found["tokens"]
        self.assertAlmostEqual(found["mean_perplexity"], math.exp(mean), places=12)

    def test_a_folder_in_the_model_that_may_not_be_read_stops_nothing(self):
        user = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}
        if subprocess.run([harness.PROGRAM, "--version"], capture_output=True, check=False, **user).returncode:
            self.skipTest("the program is in a folder that other users cannot enter")
        model = changed_demo(self.folder / "model", lambda folder: (folder / ".cache").mkdir(mode=0))
        self.addCleanup((model / ".cache").chmod, 0o700)
        self.folder.chmod(0o777)
        ran = self.ram("perplexity", model, "--text", self.short_text(3000), "--length", 128, "--json", **user)
        self.assertEqual(ran.status, 0, ran)

    def test_known_rows_are_not_computed_again_and_threads_do_not_matter(self):
        first = self.perplexity("--rows", 4, "--threads", 1)
        self.assertEqual(first["rows_known"], 0)
        again = self.perplexity("--rows", 4, "--threads", 2)
        self.assertEqual(again["rows_known"], 4)
        self.assertEqual(first["rows"], again["rows"])
        fresh = self.perplexity("--rows", 4, "--threads", 2, "--study", "other.db")
        self.assertEqual(fresh["rows_known"], 0)
        self.assertEqual(first["rows"], fresh["rows"])
        for option in (["--bos", "none"], ["--precision", "bf16"], ["--text-format", "wikitext"]):
            self.assertEqual(self.perplexity("--rows", 4, *option)["rows_known"], 0, option)

    def test_two_programs_on_one_study_are_safe(self):
        command = [harness.PROGRAM, "perplexity", str(DEMO), "--text", str(TEXT), "--length", "128",
                   "--rows", "12", "--json", "--quiet"]
        both = [subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE,
                                 env=harness.environment()) for _ in range(2)]
        outs = [p.communicate(timeout=harness.TIMEOUT_S)[0] for p in both]
        self.assertEqual([p.returncode for p in both], [0, 0])
        self.assertEqual(json.loads(outs[0])["rows"], json.loads(outs[1])["rows"])

    def test_ctrl_c_keeps_finished_blocks_and_the_next_run_continues(self):
        # Two blocks: one to keep, one to interrupt.
        text = self.short_text(140_000)
        command = [harness.PROGRAM, "perplexity", str(DEMO), "--text", str(text), "--length", "128",
                   "--threads", "1", "--quiet"]
        process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=harness.environment())
        study, kept = self.folder / "ram.db", 0
        while process.poll() is None and kept == 0:
            time.sleep(0.02)
            if study.exists():
                try:
                    with sqlite3.connect(study) as db:
                        kept = db.execute("SELECT count(*) FROM evaluation_row").fetchone()[0]
                except sqlite3.Error:
                    pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=harness.TIMEOUT_S)
        self.assertGreater(kept, 0)
        if process.returncode != 130:
            self.skipTest("it finished before the signal")
        self.assertEqual(out, b"")
        self.assertIn(b"run the same command again", err)
        found = self.perplexity(text=text)
        self.assertGreaterEqual(found["rows_known"], kept)
        self.assertLess(found["rows_known"], found["rows_used"])
        fresh = self.perplexity("--study", "fresh.db", text=text)
        self.assertEqual(found["rows"], fresh["rows"])

    def test_compare_says_all_that_the_contract_names(self):
        models = [self.compressed("8:32"), self.compressed("3:64")]
        found = self.document("compare", DEMO, *models, "--text", TEXT, "--length", 128, "--rows", 20)
        for entry in found["models"]:
            for key in ("name", "bytes", "bits_per_weight", "mean_perplexity", "median_perplexity",
                        "delta_nll", "delta_nll_se", "delta_nll_ci95", "sign_test_p", "wilcoxon_p",
                        "kl_mean", "kl_median", "kl_p90", "kl_p99", "kl_p999", "kl_max",
                        "same_top1"):
                self.assertIn(key, entry)
            order = [entry[k] for k in ("kl_median", "kl_p90", "kl_p99", "kl_p999", "kl_max")]
            self.assertEqual(order, sorted(order))
            low, high = entry["delta_nll_ci95"]
            self.assertTrue(low <= entry["delta_nll"] <= high)
        self.assertEqual(len(found["pairs"]), 3)
        self.assertGreater(found["noise_floor_kl"], 0)
        fine, coarse = found["models"]
        self.assertLess(fine["kl_mean"], coarse["kl_mean"])
        self.assertEqual(coarse["verdict"], "worse")
        size = sum(p.stat().st_size for p in models[1].rglob("*") if p.is_file())
        self.assertEqual(coarse["bytes"], size)
        plan = json.loads((models[1] / "plan.json").read_text())
        self.assertAlmostEqual(coarse["bits_per_weight"], plan["bits_per_weight"], places=9)
        # The same losses as perplexity's, which then has nothing left to compute.
        alone = self.perplexity("--rows", 20, model=models[1])
        self.assertEqual(alone["rows_known"], 20)
        self.assertEqual(alone["rows"], coarse["rows"])

    def test_the_table_is_for_people_and_needs_no_width(self):
        coarse = self.compressed("3:64")
        models = [coarse, shutil.copytree(coarse, self.folder / ("a-name-that-goes-on-and-on" * 3))]
        ran = self.ram("compare", DEMO, *models, "--text", TEXT, "--length", 128, "--rows", 20)
        self.assertEqual(ran.status, 0, ran)
        self.assertRegex(ran.out, r"demo-3-64 .*worse by \d+\.\d % ± \d+\.\d")
        self.assertIn("± is half of the 95 % interval", ran.out)
        self.assertIn("Noise floor", ran.out)
        self.assertLessEqual(max(len(line) for line in ran.out.splitlines()
                                 if str(self.folder) not in line and "goes-on-and-on" * 2 not in line), 80)

    def test_a_tie_is_within_the_margin_and_too_few_rows_are_no_tie(self):
        model = self.compressed("2:64")
        command = ("compare", DEMO, model, "--text", TEXT, "--length", 64, "--rows", 2)
        (entry,) = self.document(*command)["models"]
        self.assertEqual(entry["verdict"], "too few rows")
        self.assertTrue(entry["kl_tells"])
        self.assertGreater(entry["rows_needed"], 2)
        shown = self.ram(*command).out
        self.assertRegex(shown, r"too few rows to tell \(±\d+(\.\d)? %; about [\d,]+ would do\)")
        self.assertRegex(shown, r"KL\s+says\s+it\s+differs")
        self.assertNotIn("tied\n", shown)
        found = self.document("compare", DEMO, self.compressed("8:32"), "--text", TEXT, "--length", 128,
                              "--rows", 30)
        (entry,) = found["models"]
        self.assertEqual(found["margin"], 0.005)
        reach = max(abs(math.expm1(end)) for end in entry["delta_nll_ci95"])
        self.assertLess(reach, 0.005)
        self.assertEqual(entry["verdict"], "tied")
        narrow = self.document("compare", DEMO, self.folder / "demo-8-32", "--text", TEXT, "--length", 128,
                               "--rows", 30, "--margin", f"{100 * reach / 2:.6f}%")
        self.assertEqual(narrow["models"][0]["verdict"], "too few rows")
        self.assertAlmostEqual(narrow["margin"], reach / 2, places=8)
        for margin in ("0", "0%", "-1", "101", "x", "", ".", "1.2.3", "nan", "0.5 %%"):
            ran = self.ram(*command, f"--margin={margin}")
            if margin:
                self.assert_refused(ran, USAGE, "--margin")

    def test_demo_evaluates_its_folders(self):
        def shorten(folder):
            text = folder / "heldout.txt"
            text.write_text(text.read_text(encoding="utf-8")[:8000], encoding="utf-8")
            questions = folder / "questions.jsonl"  # sanitized builds are slow
            lines = questions.read_text(encoding="utf-8").splitlines(keepends=True)
            questions.write_text("".join(lines[:20]), encoding="utf-8")

        model = changed_demo(self.folder / "model", shorten)
        found = self.document("demo", "--model", model)
        comparison = found["comparison"]
        self.assertEqual([entry["name"] for entry in comparison["models"]],
                         [pathlib.Path(fit["out"]).name for fit in found["fits"]])
        kl = {entry["name"]: entry["kl_mean"] for entry in comparison["models"]}
        self.assertLess(kl["45-percent"], kl["uniform-4-64"])
        shown = self.ram("demo", "--model", model)
        self.assertEqual(shown.status, 0, shown)
        for label in ("uniform-4-64", "published", "32-percent", "the reference"):
            self.assertIn(label, shown.out)

    def test_rows_of_garbage_that_reverse_the_ranking_are_named(self):
        rng = random.Random(5)
        documents = TEXT.read_text(encoding="utf-8")[:40_000].split("<|endoftext|>")
        for place in (len(documents) // 4, len(documents) // 2):
            documents[place] = "".join(rng.choice(GARBAGE) for _ in range(1000))
        text = self.folder / "garbage.txt"
        text.write_text("<|endoftext|>".join(documents), encoding="utf-8")
        model = self.compressed("2:64")
        command = ["compare", DEMO, model, "--text", text, "--length", 128]
        found = self.document(*command)
        entry = found["models"][0]
        reference = found["reference_model"]
        self.assertLess(entry["mean_perplexity"], reference["mean_perplexity"], "no inversion")
        self.assertGreater(entry["median_perplexity"], reference["median_perplexity"])
        self.assertEqual(len(found["inversions"]), 1)
        report = found["inversions"][0]
        self.assertEqual(report["better_by_mean"], entry["name"])
        self.assertEqual(report["better_by_median"], "demo")
        self.assertEqual(report["believe"], "median")
        losses = {row["row"]: row["nll_sum"] / row["tokens"] for row in reference["rows"]}
        self.assertTrue(report["rows"])
        for row in report["rows"]:
            self.assertGreater(math.exp(losses[row]), 100)
        # With one of these rows left in, the mean would still rank them the other way.
        gain = {a["row"]: a["nll_sum"] - b["nll_sum"]
                for a, b in zip(reference["rows"], entry["rows"])}
        left = sum(gain.values()) - sum(gain[row] for row in report["rows"])
        self.assertLess(left, 0)
        self.assertGreater(left + min(gain[row] for row in report["rows"]), 0)
        shown = self.ram(*command)
        self.assertIn("INVERSION", shown.out)
        self.assertIn("believe the median (demo is better)", shown.out)

    def test_an_added_token_without_a_row_ends_only_the_text_that_needs_it(self):
        def add(folder):
            tokenizer = json.loads((folder / "tokenizer.json").read_text())
            tokenizer["added_tokens"].append(
                {"id": 1536, "content": "[PAD]", "single_word": False, "lstrip": False,
                 "rstrip": False, "normalized": False, "special": True})
            (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        model = changed_demo(self.folder / "padded", add)
        self.assertEqual(self.perplexity("--rows", 2, model=model)["rows"], self.perplexity("--rows", 2)["rows"])
        text = self.folder / "padded.txt"
        text.write_text("Hello there [PAD] " * 200)
        ran = self.ram("perplexity", model, "--text", text, "--length", 128)
        self.assert_refused(ran, CORRUPT, "token id 1536")
        task = ("tasks", model, "--task", "choice", "--data")
        self.document(*task, DEMO / "questions.jsonl", "--limit", 2)
        question = json.loads((DEMO / "questions.jsonl").read_text().splitlines()[0])
        question["choices"][0] += "[PAD]"
        (self.folder / "q.jsonl").write_text(json.dumps(question) + "\n")
        self.assert_refused(self.ram(*task, self.folder / "q.jsonl"), CORRUPT, "token id 1536")

    def test_bad_text_is_refused(self):
        cases = (
            (b"", CORRUPT, "empty"),
            (b" \n \n", CORRUPT, "empty"),
            (b"abc\xff", CORRUPT, "byte 3"),
            (b"A cat.", CORRUPT, "--length"),
        )
        for content, status, says in cases:
            path = self.folder / "bad.txt"
            path.write_bytes(content)
            ran = self.ram("perplexity", DEMO, "--text", path)
            self.assert_refused(ran, status, says)
        self.assert_refused(self.ram("perplexity", DEMO, "--text", "none.txt"), MISSING, "none.txt")
        huge = self.folder / "huge.txt"
        with open(huge, "wb") as file:
            file.truncate(3_000_000_000)
        self.assert_refused(self.ram("perplexity", DEMO, "--text", huge), UNSUPPORTED, "head -c")

    def test_a_text_is_the_same_with_any_line_ends(self):
        lf = b" = A town = \n\n" + TEXT.read_bytes()[:8000]
        self.assertNotIn(b"\r", lf)
        lines = lf.split(b"\n")
        ends = [b"\r\n", b"\n", b"\r"] * len(lines)
        mixed = b"".join(line + end for line, end in zip(lines[:-1], ends)) + lines[-1]
        copies = {"lf": lf, "crlf": lf.replace(b"\n", b"\r\n"), "cr": lf.replace(b"\n", b"\r"),
                  "mixed": mixed, "bom": b"\xef\xbb\xbf" + lf,
                  "jsonl": json.dumps({"text": lf.decode()}).encode() + b"\n"}
        for form in ("wikitext", "plain", None):
            found = {}
            for name, content in copies.items():
                path = self.folder / (f"{name}.jsonl" if name == "jsonl" else f"{name}.txt")
                path.write_bytes(content)
                found[name] = self.perplexity("--study", f"{name}-{form}.db",
                                              *(["--text-format", form] if form else []), text=path)
                self.assertEqual(found[name], found["lf"], (form, name))
        ran = self.ram("perplexity", DEMO, "--text", self.folder / "crlf.txt", "--length", 128)
        self.assertIn("carriage returns of the text are read as ends of lines", ran.err)
        # Stored by text, not by file: nothing is left to compute for the other form.
        again = self.perplexity("--study", "crlf-plain.db", "--text-format", "plain",
                                text=self.folder / "lf.txt")
        self.assertEqual(again["rows_known"], again["rows_used"])

    def test_tables_and_compressed_text_are_refused(self):
        for name, content, says in (("a.txt.gz", b"\x1f\x8b\x08\x00", "gunzip"),
                                    ("a.parquet", b"PAR1PAR1", "Parquet"),
                                    ("a.json", b'{"text": "a"}', ".jsonl")):
            path = self.folder / name
            path.write_bytes(content)
            self.assert_refused(self.ram("perplexity", DEMO, "--text", path), UNSUPPORTED, says)
        path = self.folder / "a.jsonl"
        path.write_text('{"content": "a"}\n')
        self.assert_refused(self.ram("perplexity", DEMO, "--text", path), CORRUPT, "line 1", "content")

    def test_options_out_of_range_are_refused(self):
        for options, says in ((["--rows", "0"], "all"), (["--rows", "x"], "all"),
                              (["--length", "1"], "--length"), (["--bos", "end"], "every-row"),
                              (["--precision", "f16"], "bf16"), (["--text-format", "md"], "plain"),
                              (["--seed", str(2**32)], "--seed")):
            ran = self.ram("perplexity", DEMO, "--text", TEXT, *options)
            self.assert_refused(ran, USAGE, says)
        self.assert_refused(self.ram("compare", DEMO, "--text", TEXT), USAGE)

    def test_a_foreign_plan_ends_neither_scores_nor_report(self):
        made = self.compressed("4:64")
        whole = json.loads((made / "plan.json").read_text())
        for name, content in (("junk", "{"), ("list", "[1]"), ("other", '{"plan": "of a trip"}'),
                              ("damaged", json.dumps({**whole, "method": 3})), ("number", '{"ram_plan": 1}')):
            with self.subTest(name):
                model = shutil.copytree(made, self.folder / name)
                (model / "plan.json").write_text(content)
                text = self.short_text(4000)
                ran = self.ram("compare", DEMO, model, "--text", text, "--length", 64, "--rows", 4)
                self.assertEqual(ran.status, 0, ran)
                self.assertIn("plan.json", ran.err)
                ran = self.ram("report", "-o", self.folder / "report.html")
                self.assertEqual(ran.status, 0, ran)
                self.assertIn(name, (self.folder / "report.html").read_text())

    def test_models_that_cannot_be_scored_are_refused(self):
        text = self.short_text(8000)

        def foreign_tokenizer(folder):
            document = json.loads((folder / "tokenizer.json").read_text())
            document["added_tokens"].append({"id": 1536, "content": "<|x|>", "special": True,
                                             "single_word": False, "lstrip": False,
                                             "rstrip": False, "normalized": False})
            (folder / "tokenizer.json").write_text(json.dumps(document))

        model = changed_demo(self.folder / "foreign", foreign_tokenizer)
        marked = self.folder / "marked.txt"
        marked.write_text("<|x|> " + text.read_text(encoding="utf-8"), encoding="utf-8")
        ran = self.ram("perplexity", model, "--text", marked, "--length", 64)
        self.assert_refused(ran, CORRUPT, "1536", "tokenizer.json")
        model = changed_demo(self.folder / "none", lambda f: (f / "tokenizer.json").unlink())
        ran = self.ram("perplexity", model, "--text", text, "--length", 64)
        self.assert_refused(ran, MISSING, "tokenizer.json")

        def not_a_number(folder):
            data = bytearray((folder / "model.safetensors").read_bytes())
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            begin = header["model.layers.2.post_attention_layernorm.weight"]["data_offsets"][0]
            place = 8 + int.from_bytes(data[:8], "little") + begin
            data[place : place + 2] = b"\xc0\x7f"
            (folder / "model.safetensors").write_bytes(data)

        model = changed_demo(self.folder / "nan", not_a_number)
        ran = self.ram("perplexity", model, "--text", text, "--length", 64)
        self.assert_refused(ran, CORRUPT, "layer 2")


if __name__ == "__main__":
    harness.main()
