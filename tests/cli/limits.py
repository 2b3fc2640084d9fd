#!/usr/bin/env python3
"""Limits of the system: each gives one line and a status of docs/cli.md, and leaves nothing half done."""

import json
import pathlib
import resource
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402
from calibration import LITTLE, CalibrationTest  # noqa: E402

DEMO = pathlib.Path(__file__).parent.parent.parent / "models" / "demo"
USAGE, MISSING, WRITE_FAILED = 2, 3, 7


def cut_into_shards(model, count):
    """Splits the weights of a model into `count` files."""
    tensors = harness.read_safetensors(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    files = [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)]
    located = {name: files[i * count // len(tensors)] for i, name in enumerate(tensors)}
    for file in files:
        harness.write_safetensors(model / file, {name: tensor for name, tensor in tensors.items()
                                                 if located[name] == file})
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": located}))


class Limited(harness.ProgramTest):
    def limited(self, limit, value, *arguments):
        """Status and stderr of the program under a separate limit."""

        def lower():
            resource.setrlimit(limit, (value, value))

        done = subprocess.run([harness.PROGRAM, *map(str, arguments), "--quiet"], cwd=self.folder,
                              capture_output=True, env=harness.environment(), check=False,
                              timeout=harness.TIMEOUT_S, preexec_fn=lower)
        err = done.stderr.decode()
        if done.returncode:
            self.assertTrue(err.startswith("ram: error: ") and err.count("\n") == 1,
                            (done.returncode, err))
        return done.returncode, err


class Limits(Limited):
    def left(self):
        return sorted(p.name for p in self.folder.iterdir() if not p.name.startswith("ram.db"))

    def test_a_file_at_its_limit_is_a_failed_write(self):
        ids = self.folder / "ids.json"
        ids.write_text(json.dumps([[1, 2, 3]]))
        self.assertEqual(self.ram("fit", DEMO, "--uniform", "4:64", "-o", "good").status, 0)
        whole = harness.files_of(self.folder / "good")
        largest = max(len(text) for text in whole.values())
        for size in (0, 1, 4096, largest // 2, largest - 1):
            status, err = self.limited(resource.RLIMIT_FSIZE, size, "fit", DEMO, "--uniform", "4:64",
                                       "-o", "out")
            self.assertEqual(status, WRITE_FAILED, (size, err))
            self.assertFalse((self.folder / "out").exists(), size)
            status, err = self.limited(resource.RLIMIT_FSIZE, size, "logits", DEMO, "--ids", ids,
                                       "-o", "logits.safetensors")
            self.assertIn(status, (0, WRITE_FAILED), (size, err))
            (self.folder / "logits.safetensors").unlink(missing_ok=True)
            self.assertEqual(self.left(), ["good", "ids.json"], size)
        # Now it is written.
        self.assertEqual(self.ram("fit", DEMO, "--uniform", "4:64", "-o", "out").status, 0)
        self.assertEqual(harness.files_of(self.folder / "out"), whole)

    def test_too_few_open_files_are_one_line(self):
        if harness.sanitized():
            self.skipTest("the sanitizer's own checks open files")
        self.assertEqual(self.ram("fit", DEMO, "--uniform", "4:64", "-o", "good").status, 0)
        refused = 0
        for arguments in (("verify", "good"), ("inspect", DEMO),
                          ("fit", DEMO, "--uniform", "8:64", "-o", "out")):
            for files in range(4, 64):
                status, err = self.limited(resource.RLIMIT_NOFILE, files, *arguments)
                if status == 0:
                    break
                refused += 1
                # Below this the program itself may not start: the status is the loader's.
                self.assertIn(status, (USAGE, MISSING, WRITE_FAILED), (arguments, files, err))
                # A folder that cannot be verified is not left behind.
                self.assertFalse((self.folder / "out").exists(), (files, err))
            self.assertEqual(status, 0, arguments)
            shutil.rmtree(self.folder / "out", ignore_errors=True)
        self.assertGreater(refused, 0)

    def test_files_that_could_not_be_opened_are_refused_before_work(self):
        if harness.sanitized():
            self.skipTest("the sanitizer's own checks open files")
        said = []
        for files in range(4, 24):
            status, err = self.limited(resource.RLIMIT_NOFILE, files, "fit", DEMO, "--uniform",
                                       "8:64", "-o", "out", "--study", "none.db")
            if status == 0:
                break
            if "more files" in err:
                said.append(files)
                self.assertEqual(status, MISSING, err)
                self.assertFalse((self.folder / "none.db").exists(), (files, err))
        self.assertTrue(said)

    def test_a_study_that_cannot_be_opened_is_no_study_that_cannot_be_written(self):
        if harness.sanitized():
            self.skipTest("the sanitizer's own checks open files")
        cut_into_shards(harness.write_model(self.folder / "model"), 8)
        self.assertEqual(self.ram("analyze", "model").status, 0)  # an existing study, with a log
        said = 0
        for files in range(4, 64):
            status, err = self.limited(resource.RLIMIT_NOFILE, files, "sweep", "model")
            if status == 0:
                break
            self.assertEqual(status, MISSING, (files, err))
            said += "limit" in err
        self.assertEqual(status, 0)
        self.assertGreater(said, 2)

    def test_a_soft_limit_on_open_files_is_raised(self):
        def lower():
            resource.setrlimit(resource.RLIMIT_NOFILE,
                               (5, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

        done = subprocess.run([harness.PROGRAM, "inspect", DEMO], capture_output=True, check=False,
                              env=harness.environment(), timeout=harness.TIMEOUT_S,
                              preexec_fn=lower)
        self.assertEqual(done.returncode, 0, done.stderr)


class FilesOfARun(CalibrationTest, Limited):
    def test_shards_that_are_opened_again_are_counted_before_work(self):
        if harness.sanitized():
            self.skipTest("the sanitizer's own checks open files")
        cut_into_shards(self.model, 12)
        said = []
        for files in range(12, 80):
            status, err = self.limited(resource.RLIMIT_NOFILE, files, "fit", self.model, "--effort",
                                       "best", "--budget", 360_000, "-o", "out", *LITTLE,
                                       "--study", "none.db")
            if status == 0:
                break
            self.assertEqual(status, MISSING, err)
            self.assertFalse((self.folder / "none.db").exists(), (files, err))
            if "more files" in err:
                said.append(files)
        self.assertEqual(status, 0)
        self.assertIn(36, said)
        # Commands that plan without writing report it as well.
        status, err = self.limited(resource.RLIMIT_NOFILE, 30, "plan", self.model, "--method",
                                   "measured", "--budget", 360_000, *LITTLE, "--study", "other.db")
        self.assertEqual(status, MISSING, err)
        self.assertFalse((self.folder / "other.db").exists(), err)


if __name__ == "__main__":
    unittest.main()
