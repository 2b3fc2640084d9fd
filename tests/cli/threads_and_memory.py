#!/usr/bin/env python3
"""Limits of the system and signals: one line and a documented status, never a crash."""

import gzip
import json
import os
import pathlib
import pty
import re
import resource
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402
from calibration import DEMO, CalibrationTest  # noqa: E402

DONE, USAGE, INTERRUPTED, TERMINATED = 0, 2, 130, 143
MEGA = 1 << 20


class Limits(CalibrationTest):
    def setUp(self):
        super().setUp()
        self.text = self.folder / "text.txt"
        self.text.write_text((DEMO / "heldout.txt").read_text(encoding="utf-8")[:4000],
                             encoding="utf-8")

    def commands(self, name):
        study = ("--study", f"{name}.db", "--threads", 8, "--quiet")
        calibrate = ("--calibration-rows", 4, "--calibration-length", 32)
        return (("analyze", self.model, *study),
                ("perplexity", self.model, "--text", self.text, "--length", 64, *study),
                ("generate", self.model, "--prompt", "Once", "--max-tokens", 4, *study),
                ("fit", self.model, "--effort", "fast", "--budget", 360_000, "-o", f"{name}-plain", *study),
                ("fit", self.model, "--budget", 360_000, "--effort", "best", *calibrate,
                 "-o", f"{name}-best", *study))

    def assert_clean(self, ran, what):
        self.assertIn(ran.status, (DONE, USAGE), f"{what}: {ran}")
        if ran.status == USAGE:
            self.assertTrue(ran.err.startswith("ram: error: "), f"{what}: {ran}")
            self.assertEqual(ran.err.count("\n"), 1, f"{what}: {ran}")

    def test_little_address_space_is_refused_in_one_line_or_enough(self):
        if harness.sanitized():
            self.skipTest("skipped: sanitizers need more")
        statuses = set()
        for megabytes in (75, 80, 90, 100, 120, 160, 240, 400, 1000):
            def limit(size=megabytes * MEGA):
                resource.setrlimit(resource.RLIMIT_AS, (size, size))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for command in self.commands(f"as{megabytes}"):
                ran = self.ram(*command, preexec_fn=limit)
                self.assert_clean(ran, f"{megabytes} MB, {command[0]}")
                statuses.add((command[0], ran.status))
        for command in ("analyze", "perplexity", "fit"):
            self.assertIn((command, DONE), statuses)

    def test_a_small_stack_is_enough(self):
        if harness.sanitized():
            self.skipTest("skipped: sanitizers need more")
        for kilobytes in (64, 128, 512):
            def limit(size=kilobytes * 1024):
                resource.setrlimit(resource.RLIMIT_STACK, (size, size))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for command in self.commands(f"stack{kilobytes}"):
                ran = self.ram(*command, preexec_fn=limit)
                self.assertEqual(ran.status, DONE, f"{kilobytes} kB, {command[0]}: {ran}")

    def test_where_no_thread_can_be_started_one_does_the_work(self):
        if os.getuid() != 0:
            self.skipTest("skipped: needs a separate user, whose processes are counted")
        if harness.sanitized():
            self.skipTest("skipped: LeakSanitizer needs a thread")
        if not all(folder.stat().st_mode & 1 for folder in pathlib.Path(harness.PROGRAM).resolve().parents):
            self.skipTest("skipped: another user cannot reach the program here")
        def limit():
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
            os.setgid(64123)
            os.setuid(64123)
        self.folder.chmod(0o777)
        ran = self.ram(*self.commands("nproc")[1], preexec_fn=limit)
        self.assertEqual(ran.status, DONE, ran)
        alone = self.ram("perplexity", self.model, "--text", self.text, "--length", 64,
                         "--study", "alone.db", "--threads", 1, "--quiet")
        self.assertEqual(ran.out, alone.out)

    def test_memory_is_kept_or_refused_for_questions_of_any_unpacked_size(self):
        bomb = self.folder / "questions.jsonl.gz"
        line = json.dumps({"question": "a?" + " " * 2000, "choices": ["b", "c"], "answer": 1}) + "\n"
        with gzip.open(bomb, "wb", compresslevel=9) as file:
            for _ in range(400):
                file.write(line.encode() * 500)
        self.assertLess(bomb.stat().st_size, 4 * MEGA)  # 400 MB unpacked
        command = ("tasks", self.model, "--task", "choice", "--data", bomb, "--threads", 1)
        start = time.monotonic()
        self.assert_refused(self.ram(*command, "--memory", "300MB"), USAGE, "questions.jsonl.gz",
                            "--memory")
        self.assertLess(time.monotonic() - start, 60)
        if harness.sanitized():
            return
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (600 * MEGA, 600 * MEGA))
        ran = self.ram(*command, "--memory", "300MB", preexec_fn=limit)
        self.assert_refused(ran, USAGE, "questions.jsonl.gz")

    def test_texts_and_ids_are_refused_where_they_take_too_much_of_the_memory(self):
        big = self.folder / "big.txt"
        with open(big, "wb") as file:
            file.truncate(101 * MEGA)
        ids = self.folder / "ids.json"
        ids.write_text("[" + "[1]," * (1 << 20) + "[1]]")
        start = time.monotonic()
        for command in (("logits", self.model, "--ids", ids, "-o", "l.safetensors"),
                        ("perplexity", self.model, "--text", big),
                        ("compare", self.model, self.model, "--text", big),
                        ("fit", self.model, "--uniform", "4:64", "-o", "out", "--encoder", "search",
                         "--calibration", big)):
            ran = self.ram(*command, "--memory", "400MB")
            self.assert_refused(ran, USAGE, "--memory", "quarter", str(command[-1]) if command[0] !=
                                "logits" else "ids.json")
        self.assertLess(time.monotonic() - start, 20)

    def test_variables_of_libraries_add_nothing_to_a_result(self):
        for name in ("DNNL_VERBOSE", "ONEDNN_VERBOSE"):
            env = harness.environment(**{name: "2"})
            for command in self.commands(name):
                if command[0] in ("analyze", "perplexity", "generate", "fit"):
                    ran = self.ram(*command, "--json", env=env)
                    self.assertEqual(ran.status, DONE, ran)
                    self.assertIsInstance(ran.json, dict)

    def test_the_peak_is_that_of_the_program_and_not_of_its_parent(self):
        command = ("fit", self.model, "--uniform", "4:64", "--json", "-o")
        small = self.ram(*command, "small").json["peak_resident_bytes"]
        block = b"x" * (400 * MEGA)
        large = self.ram(*command, "large").json["peak_resident_bytes"]
        self.assertEqual(len(block), 400 * MEGA)
        self.assertLess(large, small + 100 * MEGA)


class Signals(CalibrationTest):
    def start(self, *arguments, **options):
        return subprocess.Popen([harness.PROGRAM, *map(str, arguments)], cwd=self.folder,
                                env=harness.environment(), stderr=subprocess.PIPE, **options)

    def test_tokenize_at_a_terminal_ends_at_the_first_ctrl_c(self):
        for ending, status in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)):
            ours, theirs = pty.openpty()
            process = self.start("tokenize", self.model, stdin=theirs, stdout=subprocess.PIPE)
            os.close(theirs)
            time.sleep(1)
            process.send_signal(ending)
            out, _ = process.communicate(timeout=10)
            self.assertEqual((process.returncode, out), (status, b""))
            os.close(ours)

    def test_a_pipe_is_read_to_its_end(self):
        process = self.start("tokenize", self.model, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdin.write(b"Once upon")
        process.stdin.flush()
        time.sleep(0.7)
        out, err = process.communicate(b" a time", timeout=30)
        self.assertEqual(process.returncode, 0, err)
        whole = self.ram("tokenize", self.model, input=b"Once upon a time")
        self.assertEqual(out.decode(), whole.out)

    def test_no_thread_that_computes_takes_a_signal(self):
        # A handler that ran in the midst of oneDNN's products damaged the heap in one process of thirty.
        tasks = pathlib.Path("/proc/self/task")
        if not tasks.is_dir():
            self.skipTest("this system has no /proc")
        process = self.start("fit", self.model, "--budget", 360_000, "--effort", "best", "-o", "out", "--threads", 2,
                             stdout=subprocess.PIPE)
        signals = sum(1 << (number - 1) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
        most, taking = 0, set()
        while process.poll() is None:
            try:
                masks = [int(re.search(r"^SigBlk:\s*(\w+)$", (task / "status").read_text(), re.M)[1], 16)
                         for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir()]
            except OSError:
                continue  # a thread ended meanwhile
            if len(masks) > most:
                most, taking = len(masks), {sum(1 for mask in masks if mask & signals != signals)}
        process.communicate(timeout=harness.TIMEOUT_S)
        self.assertGreaterEqual(most, 3)  # the main thread, one that takes signals, another that computes
        self.assertEqual(taking, {1})

    def test_sigterm_is_told_from_ctrl_c(self):
        statuses = set()
        for attempt in range(12):
            process = self.start("fit", self.model, "--budget", 360_000, "--effort", "best",
                                 "-o", f"out{attempt}", "--study", f"{attempt}.db",
                                 stdout=subprocess.PIPE)
            time.sleep(0.15 + 0.1 * (attempt % 6))
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=harness.TIMEOUT_S)
            statuses.add(process.returncode)
            if process.returncode == TERMINATED:
                self.assertIn(b"run the same command again", err)
        self.assertIn(TERMINATED, statuses)
        self.assertLessEqual(statuses, {DONE, TERMINATED, -signal.SIGTERM})


if __name__ == "__main__":
    harness.main()
