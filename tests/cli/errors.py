#!/usr/bin/env python3
"""With --json an error is a document too, for every command and every status."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

COMMANDS = ("fit inspect analyze plan sweep explain quantize verify logits tokenize generate "
            "perplexity compare tasks noise gptq report studies demo completion").split()


class Errors(harness.ProgramTest):
    def failed(self, status, *command, **options):
        """@return the document of an error: one on stdout, the same line on stderr."""
        ran = self.ram(*command, **options)
        self.assertEqual(ran.status, status, ran)
        document = ran.json
        error = document["error"]
        self.assertEqual(set(error), {"status", "message"}, ran)
        self.assertEqual(error["status"], status)
        self.assertTrue(error["message"] and "\n" not in error["message"], ran)
        line = ran.err.splitlines()[-1]
        self.assertTrue(line.startswith("ram: "), ran)
        self.assertIn(error["message"][:40], line)
        return document

    def test_the_list_of_commands_is_whole(self):
        text = self.ram("--help").out
        known = [line.split()[0] for line in text.split("Subcommands:")[1].split("Example:")[0]
                 .splitlines() if line.startswith("  ") and line[2] != " "]
        self.assertEqual(sorted(known), sorted(COMMANDS))

    def test_an_unknown_option_of_every_command(self):
        for command in COMMANDS:
            self.failed(2, command, "--no-such-option", "--json")
            self.failed(2, "--json", command, "--no-such-option")

    def test_missing_arguments_of_every_command(self):
        for command in COMMANDS:
            if command not in ("demo", "studies"):
                with self.subTest(command=command):
                    document = self.failed(2, command, "--json")
                    self.assertNotIn("required", document["error"]["message"])
        self.failed(2, "--json")
        self.failed(2, "nonsense", "--json")
        self.failed(2, "fit", "--json", "--budget")

    def test_inputs_that_do_not_exist(self):
        (self.folder / "t.txt").write_text("some text")
        for command in (("fit", "no/such", "--budget", "1GB", "-o", "out"), ("inspect", "no/such"),
                        ("analyze", "no/such"), ("plan", "no/such", "--bpw", "4"),
                        ("sweep", "no/such"), ("explain", "no-plan.json"),
                        ("quantize", "no/such", "--plan", "no.json", "-o", "out"), ("verify", "no"),
                        ("logits", "no/such", "--ids", "no.json", "-o", "l"),
                        ("tokenize", "no/such"), ("generate", "no/such", "--prompt", "x"),
                        ("perplexity", "no/such", "--text", "t.txt"),
                        ("compare", "no/such", "no/other", "--text", "t.txt"),
                        ("tasks", "no/such", "--task", "choice", "--data", "no.jsonl"),
                        ("noise", "no/such", "no/out", "--text", "t.txt"),
                        ("gptq", "no/such", "--text", "t.txt"), ("report", "-o", "r.html"),
                        ("studies", "rm", "x", "--study", "none.db"), ("demo", "--model", "no/such")):
            with self.subTest(command=command):
                self.failed(3, *command, "--json", stdin=subprocess.DEVNULL)

    def test_corrupt_unsupported_and_a_budget_that_is_too_small(self):
        model = harness.write_model(self.folder / "model")
        document = self.failed(6, "plan", "model", "--budget", "1000", "--json")
        self.assertGreater(document["min_safe_bytes"], 1000)
        document = self.failed(6, "fit", "model", "--effort", "fast", "--budget", "1000", "-o", "out", "--json")
        self.assertGreater(document["min_safe_bytes"], 1000)
        self.assertNotIn("min_safe_bytes", self.failed(2, "plan", "model", "--json"))
        self.failed(7, "plan", "model", "--bpw", "6", "-o", "no/plan.json", "--json")
        (self.folder / "plan.json").write_text("{")
        self.failed(4, "explain", "plan.json", "--json")
        (self.folder / "plan.json").write_text('{"ram_plan": 99}')
        self.failed(5, "explain", "plan.json", "--json")
        self.failed(4, "studies", "--json", "--study", "plan.json")
        (model / "config.json").write_text("{")
        self.failed(4, "inspect", "model", "--json")
        (model / "config.json").write_text(json.dumps(harness.tiny_config() | {"model_type": "x"}))
        self.failed(5, "inspect", "model", "--json")

    def test_an_interrupted_run_says_so(self):
        self.interrupted(signal.SIGINT, 130)

    def test_an_ended_run_says_so(self):
        self.interrupted(signal.SIGTERM, 143)

    def interrupted(self, by, status):
        model = harness.write_model(self.folder / "model", hidden=256, intermediate=2048, layers=6,
                                    vocab=8192)
        for attempt in range(20):
            process = subprocess.Popen(
                [harness.PROGRAM, "analyze", model, "--json", "--quiet", "--threads", "1"],
                cwd=self.folder, env=harness.environment(), stdout=subprocess.PIPE,
                stderr=subprocess.PIPE)
            time.sleep(0.02 * (attempt + 1))
            process.send_signal(by)
            out, err = process.communicate(timeout=60)
            if process.returncode == status:
                error = json.loads(out)["error"]
                self.assertEqual(error["status"], status)
                self.assertIn("interrupted", error["message"])
                self.assertIn(b"interrupted", err)
                return
            for name in ("ram.db", "ram.db-wal", "ram.db-shm"):
                (self.folder / name).unlink(missing_ok=True)
        self.skipTest("the analysis always finished before the signal")

    def test_a_failed_check_is_not_an_error(self):
        harness.write_model(self.folder / "model")
        self.assertEqual(self.ram("fit", "model", "--uniform", "4:64", "-o", "out").status, 0)
        (self.folder / "out" / "stray.txt").write_text("x")
        ran = self.ram("verify", "out", "--json")
        self.assertEqual((ran.status, ran.json["ok"]), (1, False))

    def test_help_version_and_scripts_are_documents_too(self):
        self.assertIn("Usage", self.ram("fit", "--help", "--json").json["help"])
        self.assertRegex(self.ram("--version", "--json").json["version"], r"^\d+\.\d+")
        for what in ("bash", "zsh", "fish", "man"):
            document = self.ram("completion", what, "--json").json
            self.assertEqual(document["text"], self.ram("completion", what).out)
        self.failed(2, "completion", "tcsh", "--json")

    def test_without_json_stdout_stays_empty(self):
        for command in (("inspect", "no/such"), ("fit",), ("completion", "tcsh")):
            self.assertEqual(self.ram(*command).out, "")


class Words(harness.ProgramTest):
    """Messages about a wrong command line are ours, not the parser's."""

    def says(self, command, *parts):
        ran = self.ram(*command)
        self.assert_refused(ran, 2, *parts)
        for raw in ("REQUIRED", "required", "TEXT", "received", "Could not convert", "not in range"):
            self.assertNotIn(raw, ran.err)

    def test_a_memory_that_is_not_a_size_is_refused_by_every_command(self):
        for command in (("studies",), ("inspect", "x"), ("tokenize", "x"), ("fit", "x", "--bpw", 4, "-o", "y")):
            self.says((*command, "--memory", "banana"), "banana", "19GB")

    def test_each_mistake_has_its_own_message(self):
        self.says(("compare", "a", "--text", "t"), "at least 2", "1 is given")
        self.says(("inspect",), "MODEL is missing")
        self.says(("fit", "m"), "-o", "missing")
        self.says(("analyze", "m", "--csv"), "--csv needs a value")
        self.says(("analyze", "m", "--csv", "a", "--csv", "b"), "--csv", "more than once")
        self.says(("sweep", "m", "--points", "many"), "--points", "'many' is no whole number")
        self.says(("sweep", "m", "--points", "99999999999999999999"), "--points", "too large")
        for number in ("four", "0x10", "4,5", "inf", "1e999"):
            self.says(("plan", "m", "--bpw", number), "--bpw", f"'{number}' is not a number")
        for margin in ("0", "-1", "101", "0x1", "1,5%", "%"):
            self.says(("compare", "a", "b", "--text", "t", "--margin", margin), "--margin", "percent")
        self.says(("plan", "m", "--seed", "-1"), "--seed", "below 0")
        self.says(("generate", "m", "--prompt", "x", "--max-tokens", "0"), "--max-tokens",
                  "outside 1 to")
        self.says(("generate", "m", "--prompt", "x", "--temperature", "-1"), "--temperature")
        self.says(("generate", "m", "--prompt", "x", "--temperature", "nan"), "--temperature")

    def test_help_is_found_by_its_name(self):
        self.assertEqual(self.ram("help", "fit").out, self.ram("fit", "--help").out)
        self.assertEqual(self.ram("help").out, self.ram("--help").out)
        self.assertEqual(self.ram("-v").out, self.ram("--version").out)
        self.assertEqual(self.ram("-h").out, self.ram("--help").out)
        self.assert_refused(self.ram("help", "fitt"), 2, "did you mean fit?")

    def test_values_after_an_equals_sign(self):
        harness.write_model(self.folder / "model")
        home = self.folder / "home"
        home.mkdir()
        env = harness.environment(HOME=str(home))
        for argument, made in (("-o=a.json", "a.json"), ("--output=b.json", "b.json"),
                               ("-o=~/c.json", "home/c.json"), ("--output=~/d.json", "home/d.json")):
            ran = self.ram("plan", "model", "--bpw", "6", argument, env=env)
            self.assertEqual(ran.status, 0, ran)
            self.assertTrue((self.folder / made).is_file(), argument)
        self.assertFalse((self.folder / "~").exists())
        ran = self.ram("inspect", "~/../model", "--study=~/s.db", env=env)
        self.assertEqual(ran.status, 0, ran)
        (self.folder / "~").mkdir()  # a folder of that name
        self.assertEqual(self.ram("plan", "model", "--bpw", "6", "-o", "~/e.json", env=env).status, 0)
        self.assertTrue((self.folder / "~" / "e.json").is_file())

    def test_names_in_what_comes_next_can_be_pasted(self):
        shutil.move(harness.write_model(self.folder / "model"), self.folder / "my model")
        self.assertEqual(self.ram("plan", "my model", "--bpw", "6", "-o", "p.json").status, 0)
        ran = self.ram("quantize", "my model", "--plan", "p.json", "-o", "it's out", "--quiet")
        self.assertEqual(ran.status, 0, ran)
        line = next(l for l in ran.out.splitlines() if l.strip().startswith("ram verify"))
        done = subprocess.run(["bash", "-c", line.replace("ram", f"'{harness.PROGRAM}'", 1)],
                              cwd=self.folder, env=harness.environment(), check=False,
                              capture_output=True)
        self.assertEqual(done.returncode, 0, line)

    def test_names_of_plans_in_what_comes_next_can_be_pasted(self):
        harness.write_model(self.folder / "model", hidden=128, intermediate=256, vocab=192)
        ran = self.ram("plan", "model", "--budget", "40%", "-o", "my plan.json")
        self.assertEqual(ran.status, 0, ran)
        path = self.folder / "my plan.json"
        plan = json.loads(path.read_text())
        for unit in plan["units"]:
            if unit["format"][0] in "345":
                unit["format"] = "8" + unit["format"][1:]
        path.write_text(json.dumps(plan))
        ran = self.ram("quantize", "model", "--plan", "my plan.json", "-o", "out")
        self.assert_refused(ran, 2, "`ram explain 'my plan.json'`")
        self.assertIn("--plan 'my plan.json' -o OUT", self.ram("explain", "my plan.json").out)

    def test_bits_per_weight_are_what_was_asked_for(self):
        harness.write_model(self.folder / "model")
        ran = self.ram("plan", "model", "--bpw", "6")
        self.assertIn("at most 6 bits per weight", ran.out)
        self.assertNotIn("unused", ran.out)


if __name__ == "__main__":
    harness.main()
