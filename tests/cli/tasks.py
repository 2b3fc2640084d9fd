#!/usr/bin/env python3
"""ram tasks from outside: the document and the table, resumption, bad input."""

import contextlib
import json
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "models/demo"
QUESTIONS = DEMO / "questions.jsonl"
SMALL = ROOT / "tests/vectors/tasks"
USAGE, MISSING, CORRUPT, UNSUPPORTED = 2, 3, 4, 5


class Tasks(harness.ProgramTest):
    def document(self, *arguments):
        ran = self.ram("tasks", *arguments, "--json")
        self.assertEqual(ran.status, 0, ran)
        return ran.json

    def test_the_document_says_what_the_contract_names_and_adds_up(self):
        out = self.folder / "demo-2-64"
        self.assertEqual(self.ram("fit", DEMO, "--uniform", "2:64", "-o", out, "--allow-unsafe",
                                  "--quiet").status, 0)
        found = self.document(DEMO, out, "--task", "choice", "--data", QUESTIONS, "--limit", 40)
        self.assertEqual([model["name"] for model in found["models"]], ["demo", "demo-2-64"])
        for model in found["models"]:
            (task,) = model["tasks"]
            self.assertEqual((task["name"], task["metric"], task["questions"]), ("choice", "acc", 40))
            right = sum(result["correct"] for result in task["results"])
            self.assertAlmostEqual(task["accuracy"], right / 40)
            self.assertAlmostEqual(task["se"], (right / 40 * (1 - right / 40) / 39) ** 0.5)
            for result in task["results"]:
                best = max(result["log_likelihoods"])
                self.assertEqual(result["log_likelihoods"].index(best), result["choice"])
                self.assertEqual(result["correct"], result["choice"] == result["answer"])
        (pair,) = found["pairs"]
        reference, model = (m["tasks"][0]["results"] for m in found["models"])
        self.assertEqual((pair["task"], pair["a"], pair["b"]), ("choice", "demo-2-64", "demo"))
        self.assertEqual(pair["gained"], sum(m["correct"] and not r["correct"]
                                             for r, m in zip(reference, model)))
        self.assertEqual(pair["lost"], sum(r["correct"] and not m["correct"]
                                           for r, m in zip(reference, model)))
        self.assertAlmostEqual(pair["difference"], (pair["gained"] - pair["lost"]) / 40)
        self.assertLessEqual(pair["ci95"][0], pair["difference"])
        self.assertGreaterEqual(pair["ci95"][1], pair["difference"])
        self.assertEqual(pair["p_holm"], pair["mcnemar_p"], "one comparison")
        self.assertGreater(pair["detectable"], 5 / 40)
        (verdict,) = found["verdicts"]
        self.assertIn(verdict["verdict"], ("tells", "underpowered"))
        self.assertFalse(verdict["saturated"], "forty questions cannot show that models are alike")
        for model in found["models"]:
            low, high = model["tasks"][0]["ci95"]
            self.assertTrue(0 <= low < model["tasks"][0]["accuracy"] < high <= 1)

        # The larger sample asks only new questions, and has the same answers to the others.
        more = self.document(DEMO, "--task", "choice", "--data", QUESTIONS, "--limit", 60)
        self.assertLess(more["models"][0]["tasks"][0]["asked"], 60)
        known = {r["index"]: r for r in reference}
        for result in more["models"][0]["tasks"][0]["results"]:
            self.assertEqual(result, known.get(result["index"], result))
        table = self.ram("tasks", DEMO, out, "--task", "choice", "--data", QUESTIONS, "--limit", 40)
        self.assertEqual(table.status, 0, table)
        self.assertIn("40 of 600 questions", table.out)
        self.assertIn("all answers were in the study", table.out)
        self.assertLessEqual(max(map(len, table.out.splitlines())), 80)

    def test_twenty_questions_are_underpowered_and_show_no_guessing(self):
        # Questions with random right answers: any model can only guess.
        data = self.folder / "guess.jsonl"
        data.write_text("".join(json.dumps({"question": f"Number {i * 7919 % 1000}:", "answer": i % 4,
                                            "choices": ["a cat", "a boat", "a king", "a tree"]}) + "\n"
                                for i in range(20)))
        arguments = ("tasks", DEMO, DEMO, "--task", "choice", "--data", data)
        (verdict,) = self.document(*arguments[1:])["verdicts"]
        self.assertEqual(verdict["verdict"], "underpowered")
        self.assertEqual(verdict["chance"], 0.25)
        self.assertFalse(verdict["at_chance"])
        self.assertFalse(verdict["above_chance"])
        self.assertGreater(verdict["questions_needed"], 250)
        shown = " ".join(self.ram(*arguments).out.split())
        self.assertIn("not known to be above chance (25 %, 20 questions)", shown)
        self.assertIn(f"{verdict['questions_needed']:,} questions would show 2 points", shown)
        self.assertNotIn("saturated", shown)

    def test_several_tasks_come_from_one_folder_and_prompts_can_be_read(self):
        prompts = self.folder / "prompts.jsonl"
        found = self.document(DEMO, "--task", "winogrande,mmlu", "--data", SMALL, "--prompts", prompts)
        self.assertEqual([task["name"] for task in found["tasks"]], ["winogrande", "mmlu"])
        self.assertTrue(found["tasks"][0]["examples_from_asked"])
        self.assertFalse(found["tasks"][1]["examples_from_asked"])
        mmlu = found["models"][0]["tasks"][1]
        self.assertEqual([s["name"] for s in mmlu["subjects"]], ["anatomy", "high_school_physics"])
        self.assertLess(5 * mmlu["tokens"], mmlu["naive_tokens"])
        lines = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
        self.assertEqual(len(lines), 26 + 8)
        self.assertIn("about high school physics.\n\n", lines[26]["contexts"][0])

    def test_threads_do_not_matter(self):
        answers = [self.document(DEMO, "--task", "mmlu", "--data", SMALL, "--threads", threads,
                                 "--study", self.folder / f"{threads}.db")["models"][0]["tasks"][0]["results"]
                   for threads in (1, 2)]
        self.assertEqual(answers[0], answers[1])

    def test_a_killed_run_continues(self):
        study = self.folder / "killed.db"
        arguments = ["tasks", DEMO, "--task", "choice", "--data", QUESTIONS, "--study", study, "--threads", 1]
        process = subprocess.Popen([harness.PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, env=harness.environment())
        known = 0
        while process.poll() is None and not known:
            time.sleep(0.05)
            try:
                with contextlib.closing(sqlite3.connect(f"file:{study}?mode=ro", uri=True)) as db:
                    (known,) = db.execute("SELECT count(*) FROM task_answer").fetchone()
            except sqlite3.Error:
                pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.assertGreater(known, 0)
        task = self.document(*arguments[1:])["models"][0]["tasks"][0]
        self.assertLessEqual(task["asked"], 600 - known)
        self.assertEqual(task["questions"], 600)

    def test_bad_input_ends_with_one_line_that_says_what_is_wrong(self):
        bad = self.folder / "bad.jsonl"
        bad.write_text('{"question": "a", "choices": ["b", "c"], "answer": 5}\n')
        empty = self.folder / "empty.jsonl"
        empty.write_text("")
        for status, says, arguments in (
                (CORRUPT, "line 1: answer 5", ("--task", "choice", "--data", bad)),
                (CORRUPT, "no question", ("--task", "choice", "--data", empty)),
                (MISSING, "no such file", ("--task", "choice", "--data", self.folder / "none")),
                (MISSING, "load_dataset", ("--task", "mmlu", "--data", self.folder)),
                (USAGE, "available: arc_challenge", ("--task", "mmul", "--data", SMALL)),
                (USAGE, "named twice", ("--task", "mmlu,mmlu", "--data", SMALL)),
                (USAGE, "--limit 0", ("--task", "mmlu", "--data", SMALL, "--limit", "0")),
                (USAGE, "--limit x", ("--task", "mmlu", "--data", SMALL, "--limit", "x"))):
            ran = self.ram("tasks", DEMO, *arguments)
            self.assertEqual(ran.status, status, ran)
            self.assertIn(says, ran.err)
            self.assertEqual(ran.out, "")


if __name__ == "__main__":
    harness.main()
