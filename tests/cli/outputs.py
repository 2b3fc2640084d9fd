#!/usr/bin/env python3
"""No output destroys an existing file: the study, an input, a model's files, another command's file, a device."""

import errno
import json
import os
import pathlib
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

USAGE, WRITE_FAILED = 2, 7
DEMO = pathlib.Path(__file__).resolve().parents[2] / "models/demo"
QUESTION = '{"question": "Who?", "choices": ["a", "b"], "answer": 0}\n'
SIZES = {"hidden": 64, "layers": 1, "intermediate": 64, "vocab": 1536}


class OutputTest(harness.ProgramTest):
    def setUp(self):
        super().setUp()
        config = harness.tiny_config(**SIZES) | {"bos_token_id": 0, "eos_token_id": 0}
        self.model = harness.write_model(self.folder / "model", config=config, **SIZES)
        shutil.copy(DEMO / "tokenizer.json", self.model)
        (self.folder / "ids.json").write_text("[[1, 2, 3]]")
        (self.folder / "q.jsonl").write_text(QUESTION)
        (self.folder / "t.txt").write_text("The river runs to the sea. " * 40)
        self.assertEqual(self.ram("analyze", "model", "--quiet").status, 0)

    def commands(self, output):
        """Every command that writes a file, with this output."""
        return {
            "report": ("report", "-o", output),
            "plan": ("plan", "model", "--budget", "80%", "-o", output),
            "analyze": ("analyze", "model", "--csv", output),
            "logits": ("logits", "model", "--ids", "ids.json", "-o", output),
            "tasks": ("tasks", "model", "--task", "choice", "--data", "q.jsonl", "--prompts", output),
        }

    def study_content(self):
        with sqlite3.connect(self.folder / "ram.db") as study:
            return sorted(study.execute("SELECT name, fingerprint FROM model"))

    def refused(self, *command, status=USAGE, says=(), **options):
        """Refused in one line; no file is changed, new or missing, and the study is the same."""
        def files():
            all_of = harness.files_of(self.folder)
            return {k: v for k, v in all_of.items() if not k.startswith("ram.db-")}
        before, study = files(), self.study_content()
        ran = self.ram(*command, **options)
        self.assert_refused(ran, status, *says)
        self.assertEqual(files(), before, ran)
        self.assertEqual(self.study_content(), study)
        return ran


class OverSomething(OutputTest):
    def test_the_study_and_its_journals_under_any_name(self):
        os.symlink("ram.db", self.folder / "link")
        os.symlink(self.folder / "link", self.folder / "link-to-link")
        os.link(self.folder / "ram.db", self.folder / "hard")
        (self.folder / "inner").mkdir()
        for name in ("ram.db", "./ram.db", "inner/../ram.db", str(self.folder / "ram.db"), "link",
                     "link-to-link", "hard", "ram.db-wal", "ram.db-shm", "ram.db-journal"):
            for command in self.commands(name).values():
                with self.subTest(command=command):
                    self.refused(*command, says=("study",))

    def test_a_study_that_does_not_exist_yet(self):
        for command in self.commands("new.db").values():
            self.refused(*command, "--study", "./new.db", says=("study",))
            self.assertFalse((self.folder / "new.db").exists())

    def test_another_study(self):
        shutil.copy(self.folder / "ram.db", self.folder / "other.db")
        for command in self.commands("other.db").values():
            self.refused(*command, says=("SQLite",))

    def test_the_source(self):
        os.symlink(self.model, self.folder / "m")
        os.link(self.model / "model.safetensors", self.folder / "hard")
        os.symlink("model/config.json", self.folder / "soft")
        for name in ("model/config.json", "model/model.safetensors", "model/tokenizer.json",
                     "m/config.json", "hard", "soft", "model/new.json"):
            for command in self.commands(name).values():
                with self.subTest(command=command):
                    self.refused(*command)

    def test_the_source_in_a_cache_behind_its_links(self):
        commit = "0123456789abcdef0123456789abcdef01234567"
        repository = self.folder / "hub" / "models--some--model"
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (repository / "blobs").mkdir()
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
        for number, file in enumerate(sorted(self.model.iterdir())):
            shutil.copy(file, repository / "blobs" / f"{number}")
            os.symlink(f"../../blobs/{number}", snapshot / file.name)
        env = harness.environment(HF_HUB_CACHE=str(self.folder / "hub"))
        for number in range(3):
            self.refused("plan", "some/model", "--budget", "80%", "-o",
                         f"hub/models--some--model/blobs/{number}", env=env)

    def test_other_inputs_of_the_command(self):
        (self.folder / "eval").mkdir()
        shutil.copy(self.folder / "q.jsonl", self.folder / "eval" / "choice.jsonl")
        os.link(self.folder / "q.jsonl", self.folder / "hard")
        self.refused("tasks", "model", "--task", "choice", "--data", "q.jsonl", "--prompts", "q.jsonl",
                     says=("--data",))
        self.refused("tasks", "model", "--task", "choice", "--data", "q.jsonl", "--prompts", "hard")
        self.refused("tasks", "model", "--task", "choice", "--data", "eval", "--prompts",
                     "eval/choice.jsonl")
        self.refused("logits", "model", "--ids", "ids.json", "-o", "ids.json", says=("--ids",))
        self.refused("plan", "model", "--budget", "80%", "--method", "measured", "--calibration",
                     "t.txt", "-o", "t.txt", says=("--calibration",))
        self.refused("plan", "model", "--budget", "80%", "--study", "t.txt", "--method", "measured",
                     "--calibration", "t.txt", says=("--study",))

    def test_a_finished_folder(self):
        self.assertEqual(self.ram("fit", "model", "--uniform", "4:32", "-o", "out").status, 0)
        for name in ("out/plan.json", "out/config.json", "out/model.safetensors", "out/new"):
            for command in self.commands(name).values():
                self.refused(*command)
        self.assertEqual(self.ram("verify", "out").status, 0)

    def test_files_of_another_run(self):
        shutil.copy(self.folder / "ram.db", self.folder / "other.db")
        work = self.folder / ".out.ram-partial"
        work.mkdir()
        (work / "state.json").write_text("{}")
        for name in ("other.db-wal", "other.db-journal", ".out.ram-partial/state.json"):
            for command in self.commands(name).values():
                self.refused(*command)
        self.refused("fit", "model", "--uniform", "4:32", "-o", ".out.ram-partial/x", "--force")

    def test_output_of_another_command(self):
        made = {}
        for name, command in self.commands("-").items():
            made[name] = self.folder / f"{name}.out"
            command = [made[name] if word == "-" else word for word in command]
            if name != "report":
                self.assertEqual(self.ram(*command).status, 0, command)
        made["report"].write_text("<!DOCTYPE html>\n<html></html>\n")
        for name, command in self.commands("-").items():
            for other, path in made.items():
                if other != name:
                    with self.subTest(command=name, over=other):
                        self.refused(*[path.name if word == "-" else word for word in command])
            if name != "report":
                again = self.ram(*[made[name] if word == "-" else word for word in command])
                self.assertEqual(again.status, 0, again)

    def test_output_folders(self):
        self.assertEqual(self.ram("fit", "model", "--uniform", "4:32", "-o", "out").status, 0)
        shutil.copy(self.folder / "ram.db", self.folder / "out" / "ram.db")
        for study in ("out/ram.db", "./out/../out/ram.db", "out/new.db"):
            self.refused("fit", "model", "--uniform", "8:32", "-o", "out", "--force", "--study", study,
                         says=("study",))
        os.remove(self.folder / "out" / "ram.db")
        os.symlink("out", self.folder / "o")
        self.refused("fit", "model", "--uniform", "8:32", "-o", "o", "--force", "--study", "out/ram.db")
        shutil.copy(self.folder / "t.txt", self.folder / "out" / "t.txt")
        self.refused("fit", "model", "--budget", "80%", "-o", "out", "--force", "--effort", "best",
                     "--calibration", "out/t.txt", says=("--calibration",))
        for out in ("model", "model/out", "model/a/b", "."):
            self.refused("fit", "model", "--uniform", "8:32", "-o", out, "--force")
            self.refused("quantize", "model", "--plan", "out/plan.json", "-o", out, "--force")
        for command in (("gptq", "model", "--text", "t.txt"), ("demo", "--model", "model"),
                        ("sweep", "model", "--measure", "2", "--text", "t.txt")):
            self.refused(*command, "-o", "model/made")
            self.refused(*command, "-o", "ids.json")
            self.refused(*command, "-o", "made", "--study", "made/deep/ram.db")

    def test_inputs_in_the_work_folders_of_a_run(self):
        """A run empties the folders beside OUT: no input may be in them."""
        os.symlink(".", self.folder / "here")
        plan = self.ram("plan", "model", "--uniform", "4:32", "-o", "-", "--quiet").out
        for work in (".out.ram-partial", ".out.ram-encoded"):
            (self.folder / work).mkdir()
            shutil.copytree(self.model, self.folder / work / "m")
            shutil.copy(self.folder / "t.txt", self.folder / work)
            shutil.copy(self.folder / "ram.db", self.folder / work / "s.db")
            (self.folder / work / "plan.json").write_text(plan)
            for out in ("out", "here/out"):
                fit = ("fit", "-o", out, "--force")
                self.refused(*fit, f"{work}/m", "--uniform", "8:32", says=(work,))
                self.refused(*fit, f"here/{work}/m", "--uniform", "8:32", says=(work,))
                self.refused(*fit, "model", "--uniform", "8:32", "--study", f"{work}/s.db", says=("study",))
                self.refused(*fit, "model", "--uniform", "8:32", "--study", f"{work}/new.db", says=("study",))
                self.refused(*fit, "model", "--budget", "80%", "--effort", "best", "--calibration",
                             f"{work}/t.txt", says=(f"{work}/t.txt",))
                self.refused("quantize", "model", "--plan", f"{work}/plan.json", "-o", out, says=("plan.json",))
            shutil.rmtree(self.folder / work)
        inner = self.folder / "made" / ".4-128-own.ram-encoded"
        inner.mkdir(parents=True)
        shutil.copytree(self.model, inner / "m")
        self.refused("gptq", inner / "m", "--text", "t.txt", "-o", "made", says=(".4-128-own",))

    def test_a_file_that_cannot_be_read_is_not_replaced(self):
        """Its content is unknown: it may be the only study."""
        user = {}
        if os.geteuid() == 0:
            user = {"user": 65534, "group": 65534}
            if subprocess.run([harness.PROGRAM, "--version"], capture_output=True, check=False,
                              **user).returncode != 0:
                self.skipTest("skipped: the program is in a folder that other users cannot enter")
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, 65534, 65534)
        other = self.folder / "other.db"
        shutil.copy(self.folder / "ram.db", other)
        if user:
            os.chown(other, 65534, 65534)
        other.chmod(0o200)
        before = other.read_bytes() if user else None
        for command in (("report", "-o", "other.db"), ("analyze", "model", "--csv", "other.db")):
            ran = self.ram(*command, **user)
            self.assert_refused(ran, USAGE, "other.db", "not to be read", "nothing was touched")
        if user:
            self.assertEqual(other.read_bytes(), before)

    def test_a_plan_that_cannot_be_read_is_said_to_be_that(self):
        self.assertEqual(self.ram("fit", "model", "--uniform", "4:32", "-o", "out").status, 0)
        (self.folder / "out/plan.json").write_text("{")
        for force in ((), ("--force",)):
            self.refused("fit", "model", "--uniform", "8:32", "-o", "out", *force,
                         says=("plan.json", "cannot be read"))

    def test_a_model_with_a_plan_beside_it_is_not_replaced(self):
        other = harness.write_model(self.folder / "other", seed=2, **SIZES)
        plan = self.ram("plan", "other", "--budget", "80%", "-o", "-", "--quiet").out
        (other / "plan.json").write_text(plan)
        self.refused("fit", "model", "--uniform", "4:32", "-o", "other", "--force",
                     says=("not replaced even with --force",))

    def test_a_plan_edited_in_a_folder_may_make_that_folder_again(self):
        self.assertEqual(self.ram("fit", "model", "--uniform", "4:32", "-o", "out").status, 0)
        ran = self.ram("quantize", "model", "--plan", "out/plan.json", "-o", "out")
        self.assertEqual(ran.status, 0, ran)

    def test_names_that_are_not_files(self):
        for command in self.commands("").values():
            self.refused(*command)
        self.refused("fit", "model", "--uniform", "4:32", "-o", "")
        for name in (".", "model", "new/"):
            self.refused("plan", "model", "--budget", "80%", "-o", name,
                         status=USAGE if name != "new/" else USAGE)

    def test_stdout_takes_one_document(self):
        for name, command in self.commands("-").items():
            ran = self.ram(*command, "--json", "--quiet")
            if name == "plan":
                self.assertEqual(ran.json["ram_plan"], 1)
                continue
            self.assertEqual((ran.status, ran.json["error"]["status"]), (USAGE, USAGE), ran)


class Written(OutputTest):
    """Special files are written to directly; links are followed; regular files are replaced whole."""

    def node(self):
        path = self.folder / "node"
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            with open(path, "wb"):
                pass
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOTSUP):
                raise
            self.skipTest("no device can be made here")
        return path

    def report_commands(self, output):
        return {k: v for k, v in self.commands(output).items() if k != "report"}

    def test_a_device_stays_one(self):
        path = self.node()
        for name, command in self.commands("node").items():
            ran = self.ram(*command)
            if name not in ("report", "logits"):
                self.assertEqual(ran.status, 0, ran)
            self.assertTrue(stat.S_ISCHR(path.stat().st_mode), (name, ran))

    def test_a_link_to_a_device_stays_one(self):
        path = self.node()
        os.symlink("node", self.folder / "link")
        self.assertEqual(self.ram("plan", "model", "--budget", "80%", "-o", "link").status, 0)
        self.assertTrue(stat.S_ISCHR(path.stat().st_mode))
        self.assertTrue((self.folder / "link").is_symlink())

    def test_a_fifo_gets_the_text(self):
        wanted = self.ram("plan", "model", "--budget", "80%", "-o", "-", "--quiet").out
        path = self.folder / "fifo"
        os.mkfifo(path)
        got = []
        reader = threading.Thread(target=lambda: got.append(path.read_text()))
        reader.start()
        ran = self.ram("plan", "model", "--budget", "80%", "-o", "fifo")
        reader.join(60)
        self.assertEqual(ran.status, 0, ran)
        self.assertEqual(got, [wanted])
        self.assertTrue(stat.S_ISFIFO(path.stat().st_mode))
        self.refused("logits", "model", "--ids", "ids.json", "-o", "fifo", says=("regular file",))

    def test_a_descriptor_of_the_shell(self):
        wanted = self.ram("plan", "model", "--budget", "80%", "-o", "-", "--quiet").out
        script = f"'{harness.PROGRAM}' plan model --budget 80% -o >(cat >got) --quiet >/dev/null; sleep 1"
        subprocess.run(["bash", "-c", script], cwd=self.folder, env=harness.environment(), check=True)
        self.assertEqual((self.folder / "got").read_text(), wanted)

    def test_a_fifo_without_a_reader_is_a_failed_write(self):
        os.mkfifo(self.folder / "fifo")
        ran = self.ram("analyze", "model", "--csv", "fifo")
        self.assertEqual(ran.status, WRITE_FAILED, ran)
        self.assertLess(ran.seconds, 60)

    def test_a_link_is_followed_and_stays(self):
        (self.folder / "there").mkdir()
        for target in ("there/old", "there/new"):
            (self.folder / "there" / "old").write_text("old")
            link = self.folder / "link"
            link.unlink(missing_ok=True)
            os.symlink(target, link)
            for command in self.report_commands("link").values():
                (self.folder / target).unlink(missing_ok=True)
                self.assertEqual(self.ram(*command).status, 0, command)
                self.assertTrue(link.is_symlink())
                self.assertGreater((self.folder / target).stat().st_size, 10)
        os.symlink("b", self.folder / "a")
        os.symlink("a", self.folder / "b")
        self.refused("plan", "model", "--budget", "80%", "-o", "a", says=("loop",))

    def test_a_file_of_any_other_kind_is_replaced_and_nothing_is_left_beside_it(self):
        for command in self.report_commands("file").values():
            (self.folder / "file").write_text("something else")
            before = set(os.listdir(self.folder))
            self.assertEqual(self.ram(*command).status, 0, command)
            self.assertNotEqual((self.folder / "file").read_bytes(), b"something else")
            self.assertLessEqual(set(os.listdir(self.folder)) - before, {"ram.db-wal", "ram.db-shm"})
            (self.folder / "file").unlink()


if __name__ == "__main__":
    harness.main()
