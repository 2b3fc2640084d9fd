#!/usr/bin/env python3
"""ram logits and ram generate from outside: files, documents, the same text again, bad input."""

import json
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

DEMO = pathlib.Path(__file__).resolve().parent.parent.parent / "models/demo"
VOCABULARY = 1536
USAGE, MISSING, CORRUPT = 2, 3, 4


class RunModels(harness.ProgramTest):
    def ids(self, text, name="ids.json"):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def logits(self, text, *options):
        out = self.folder / "logits.safetensors"
        return self.ram("logits", DEMO, "--ids", self.ids(text), "-o", out, *options), out

    def test_logits_are_written_for_each_sequence_token_and_id(self):
        ran, out = self.logits("[[1, 2, 3], [4, 5, 6]]", "--json")
        self.assertEqual(ran.status, 0, ran)
        self.assertEqual((ran.json["sequences"], ran.json["length"]), (2, 3))
        data = out.read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + size])["logits"]
        self.assertEqual((header["dtype"], header["shape"]), ("F32", [2, 3, VOCABULARY]))
        self.assertEqual(len(data), 8 + size + 2 * 3 * VOCABULARY * 4)

    def test_logits_do_not_depend_on_threads_or_memory(self):
        text = json.dumps([[(7 * i * i + j) % VOCABULARY for i in range(300)] for j in range(3)])
        files = []
        for options in (("--threads", "1"), ("--threads", "3"), ("--memory", "220MB")):
            ran, out = self.logits(text, *options)
            self.assertEqual(ran.status, 0, ran)
            files.append(out.read_bytes())
        self.assertEqual(files[0], files[1])
        self.assertEqual(files[0], files[2])

    def test_bad_ids_are_named_and_nothing_is_left(self):
        bad = {
            "": "not valid JSON",
            "[" * 200_000: "nested deeper than 2 levels",
            "[[1, 99999999999999999999]]": "99999999999999999999, which is not a token id",
            "[]": "list of lists",
            "[[]]": "sequence 0",
            "[[1, 2], [3]]": "one length",
            "[[1, -2]]": "-2",
            "[[1, 1.5]]": "1.5",
            '[["a"]]': "token id",
            f"[[1, {VOCABULARY}]]": f"id {VOCABULARY} at position 1",
        }
        for text, says in bad.items():
            ran, out = self.logits(text)
            self.assertEqual(ran.status, CORRUPT, (text, ran))
            self.assertIn(says, ran.err)
            self.assertFalse(out.exists())
            self.assertEqual(list(out.parent.glob(f"{out.name}*")), [], text)

    def start(self, *command, hangup=signal.SIG_DFL):
        return subprocess.Popen([harness.PROGRAM, *map(str, command)], cwd=self.folder,
                                env=harness.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                preexec_fn=lambda: signal.signal(signal.SIGHUP, hangup))

    def start_logits(self, model, out="out", **options):
        """The process and the output file of a long `logits`, as soon as it writes."""
        text = json.dumps([[(7 * i * i + j) % VOCABULARY for i in range(256)] for j in range(300)])
        process = self.start("logits", model, "--ids", self.ids(text, "long.json"), "-o", out, "--threads", "1",
                             "--memory", "220MB", **options)
        while process.poll() is None:
            found = [path for path in self.folder.glob(f"{out}.*.ram-tmp") if path.stat().st_size > 0]
            if found:
                return process, found[0]
            time.sleep(0.01)
        self.fail(process.communicate())

    def change(self, model):
        """Replaces the weights by others of the same size."""
        with open(model / "model.safetensors", "r+b") as file:
            file.seek(2_000_000)
            file.write(bytes(1_000_000))

    def test_logits_of_a_model_that_changes_meanwhile_are_not_written(self):
        model = shutil.copytree(DEMO, self.folder / "model")
        process, written = self.start_logits(model)
        self.change(model)
        out, err = process.communicate(timeout=harness.TIMEOUT_S)
        self.assertEqual((process.returncode, out), (CORRUPT, b""), err)
        self.assertIn(b"changed", err)
        self.assertFalse((self.folder / "out").exists())
        self.assertFalse(written.exists())

    def test_a_killed_run_leaves_its_logits_to_the_next_which_removes_them(self):
        process, written = self.start_logits(DEMO)
        process.kill()
        process.communicate()
        self.assertTrue(written.exists())
        ids = self.ids("[[1, 2]]")
        self.assertEqual(self.ram("logits", DEMO, "--ids", ids, "-o", "other").status, 0)
        self.assertTrue(written.exists())
        self.assertEqual(self.ram("logits", DEMO, "--ids", ids, "-o", "out").status, 0)
        self.assertFalse(written.exists())

    def test_logits_of_a_running_process_are_kept(self):
        process, written = self.start_logits(DEMO)
        self.assertEqual(self.ram("logits", DEMO, "--ids", self.ids("[[1, 2]]"), "-o", "out").status, 0)
        self.assertIsNone(process.poll())
        self.assertTrue(written.exists())
        process.terminate()
        process.communicate(timeout=harness.TIMEOUT_S)

    def test_a_closed_terminal_ends_a_run_and_nothing_is_left(self):
        for hangup, status in ((signal.SIG_DFL, 129), (signal.SIG_IGN, 143)):
            process, written = self.start_logits(DEMO, hangup=hangup)
            process.send_signal(signal.SIGHUP)
            time.sleep(0.2)
            if hangup == signal.SIG_IGN:
                self.assertIsNone(process.poll())
                process.terminate()
            process.communicate(timeout=harness.TIMEOUT_S)
            self.assertEqual(process.returncode, status)
            self.assertFalse(written.exists())

    def test_text_of_a_model_that_changes_meanwhile_ends_with_an_error(self):
        model = shutil.copytree(DEMO, self.folder / "model")
        process = self.start("generate", model, "--from-nothing", "2000", "--max-tokens", "60", "--threads", "1")
        self.assertEqual(len(process.stdout.read(5)), 5)
        self.change(model)
        _, err = process.communicate(timeout=harness.TIMEOUT_S)
        self.assertEqual(process.returncode, CORRUPT, err)
        self.assertIn(b"changed", err)

    def test_text_without_a_reader_is_not_written(self):
        process = self.start("generate", DEMO, "--from-nothing", "200000", "--max-tokens", "300", "--threads", "1")
        self.assertEqual(len(process.stdout.read(5)), 5)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=60), 0)
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()

    def test_missing_files_are_named(self):
        ran = self.ram("logits", DEMO, "--ids", self.folder / "no.json", "-o", self.folder / "o")
        self.assertEqual(ran.status, MISSING, ran)

    def test_too_little_memory_is_refused_with_what_is_needed(self):
        ran, _ = self.logits(json.dumps([[1] * 2000]), "--memory", "70MB")
        self.assertEqual(ran.status, USAGE, ran)
        self.assertIn("rows of 2000 tokens", ran.err)

    def generate(self, *options):
        ran = self.ram("generate", DEMO, *options, "--json")
        self.assertEqual(ran.status, 0, ran)
        return ran.json

    def test_a_seed_gives_one_text_and_another_seed_another(self):
        options = ("--prompt", "The river", "--max-tokens", "30")
        first = self.generate(*options, "--seed", "5", "--threads", "1")["texts"]
        self.assertEqual(self.generate(*options, "--seed", "5", "--threads", "3")["texts"], first)
        self.assertNotEqual(self.generate(*options, "--seed", "6")["texts"], first)

    def test_texts_from_nothing_are_as_many_as_asked_for(self):
        found = self.generate("--from-nothing", "3", "--max-tokens", "12")
        self.assertEqual(len(found["texts"]), 3)
        for text in found["texts"]:
            self.assertEqual(text["tokens"], len(text["ids"]))
            self.assertLessEqual(text["tokens"], 12)

    def test_one_of_prompt_and_from_nothing_must_be_given(self):
        for options in ((), ("--prompt", "a", "--from-nothing", "1")):
            self.assertEqual(self.ram("generate", DEMO, *options).status, USAGE)


if __name__ == "__main__":
    harness.main()
