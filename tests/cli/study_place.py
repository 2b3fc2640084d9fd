#!/usr/bin/env python3
"""The place of the study; what `ram studies` lists and removes."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

DEMO = pathlib.Path(__file__).resolve().parents[2] / "models/demo"


class Place(harness.ProgramTest):
    def setUp(self):
        super().setUp()
        harness.write_model(self.folder / "model")
        self.home = self.folder / "home"
        self.home.mkdir()

    def here(self, *command, home=None, unset=(), cwd=None, **variables):
        env = harness.environment(HOME=str(home or self.home), **variables)
        for name in ("RAM_STUDY", "XDG_DATA_HOME", *unset):
            if name not in variables:
                env.pop(name, None)
        return harness.ram(*command, cwd=cwd or self.folder, env=env)

    def users(self):
        if sys.platform == "darwin":
            return self.home / "Library/Application Support/ram/ram.db"
        return self.home / ".local/share/ram/ram.db"

    def test_the_users_data_folder_from_wherever_it_is_asked(self):
        ran = self.here("analyze", "model", "--json")
        self.assertEqual((ran.status, ran.err), (0, ""), ran)
        self.assertEqual(ran.json["study"], str(self.users()))
        self.assertTrue(self.users().is_file())
        self.assertFalse((self.folder / "ram.db").exists())
        other = self.folder / "elsewhere"
        other.mkdir()
        again = self.here("analyze", "../model", "--json", cwd=other)
        self.assertEqual(again.json["tensors_measured"], 0)
        self.assertEqual(list(other.iterdir()), [])

    def test_the_data_folder_of_the_specification(self):
        if sys.platform == "darwin":
            self.skipTest("XDG is Linux's")
        data = self.folder / "data"
        ran = self.here("analyze", "model", "--json", XDG_DATA_HOME=str(data))
        self.assertEqual(ran.json["study"], str(data / "ram/ram.db"))
        ran = self.here("analyze", "model", "--json", XDG_DATA_HOME="relative")  # is to be ignored
        self.assertEqual(ran.json["study"], str(self.users()))
        ran = self.here("analyze", "model", "--json", XDG_DATA_HOME="")
        self.assertEqual(ran.json["study"], str(self.users()))

    def test_the_order_option_variable_here_users(self):
        self.assertEqual(self.here("analyze", "model", RAM_STUDY="ram.db").status, 0)
        ran = self.here("analyze", "model", "--json")
        self.assertEqual(ran.json["study"], "./ram.db")
        self.assertEqual(ran.err.count("ram: note: "), 1, ran)
        self.assertIn(str(self.users()), ran.err)
        self.assertFalse(self.users().exists())
        self.assertEqual(self.here("analyze", "model", "--json", "--quiet").err, "")
        ran = self.here("analyze", "model", "--json", RAM_STUDY="v.db")
        self.assertEqual((ran.json["study"], ran.err), ("v.db", ""))
        ran = self.here("analyze", "model", "--json", "--study", "o.db", RAM_STUDY="v.db")
        self.assertEqual((ran.json["study"], ran.err), ("o.db", ""))

    def test_commands_without_a_study_say_nothing_of_it(self):
        (self.folder / "ram.db").write_bytes(b"")
        shutil.copy(DEMO / "tokenizer.json", self.folder / "model")
        env = harness.environment(HOME=str(self.home))
        env.pop("RAM_STUDY")
        ran = harness.ram("tokenize", "model", cwd=self.folder, env=env, stdin=subprocess.DEVNULL)
        self.assertEqual((ran.status, ran.err), (0, ""), ran)

    def test_no_home(self):
        ran = self.here("inspect", "model", unset=("HOME",))
        self.assertEqual((ran.status, ran.err), (0, ""), ran)
        for command in (("analyze", "model"), ("fit", "model", "--uniform", "4:64", "-o", "out"),
                        ("studies",)):
            self.assert_refused(self.here(*command, unset=("HOME",)), 2, "HOME", "--study")
        self.assertEqual(self.here("analyze", "model", "--study", "s.db", unset=("HOME",)).status, 0)

    def test_no_home_is_said_where_the_study_is_named(self):
        ran = self.here("studies", "rm", "model", unset=("HOME",))
        self.assert_refused(ran, 2, "HOME is not set")
        self.assertEqual(self.ram("fit", "model", "--uniform", "4:64", "-o", "out").status, 0)
        plan = json.loads((self.folder / "out/plan.json").read_text())
        del plan["files"]
        (self.folder / "out/plan.json").write_text(json.dumps(plan))
        ran = self.here("verify", "out", unset=("HOME",))
        self.assertNotIn("nor  has", ran.err)

    def test_a_broken_study_does_not_end_commands_that_need_none(self):
        self.assertEqual(self.ram("fit", "model", "--uniform", "4:64", "-o", "out").status, 0)
        (self.folder / "junk.db").write_text("junk")
        for command in (("verify", "out"), ("inspect", "model"),
                        ("fit", "model", "--uniform", "8:64", "-o", "new", "--dry-run")):
            ran = self.here(*command, RAM_STUDY="junk.db")
            self.assertEqual(ran.status, 0, ran)
            self.assertEqual(ran.err.count("without the study: "), 1, ran)
            self.assertIn("junk.db", ran.err)
            named = self.here(*command, "--study", "junk.db")
            self.assert_refused(named, 4, "junk.db")
        self.assertEqual((self.folder / "junk.db").read_text(), "junk")

    def test_explain_needs_no_study_where_the_model_is_named(self):
        self.assertEqual(self.ram("fit", "model", "--effort", "fast", "--bpw", "5", "-o", "out").status, 0)
        good = self.ram("explain", "out", "--model", "model")
        self.assertEqual((good.status, good.err), (0, ""))
        whole = (self.folder / "ram.db").read_bytes()
        (self.folder / "junk.db").write_text("junk")
        # Its first page names tables that the other pages do not contain.
        (self.folder / "damaged.db").write_bytes(whole[:4096] + bytes(len(whole) - 4096))
        for name in ("junk.db", "damaged.db", "no/folder/ram.db"):
            ran = self.here("explain", "out", "--model", "model", RAM_STUDY=name)
            self.assertEqual((ran.status, ran.out), (0, good.out), ran)
            self.assertEqual(ran.err.count("the study was not used: "), 1, ran)
            self.assertIn(name.split("/")[-1], ran.err)
            named = self.here("explain", "out", "--model", "model", "--study", name)
            self.assertIn(named.status, (4, 7), named)
        self.assertEqual((self.folder / "junk.db").read_text(), "junk")
        # Faults of the model are reported for the model.
        (self.folder / "model" / "model.safetensors").write_bytes(b"")
        ran = self.here("explain", "out", "--model", "model", RAM_STUDY="junk.db")
        self.assert_refused(ran, 4, "model.safetensors")

    def test_a_home_that_cannot_be_written(self):
        (self.folder / "file").write_text("x")
        ran = self.here("analyze", "model", home=self.folder / "file" / "home")
        self.assert_refused(ran, 7, "--study")

    def test_an_empty_name(self):
        for study in (("--study", ""), ("--study=",)):
            self.assert_refused(self.here("analyze", "model", *study), 2, "--study")
        self.assertFalse(self.users().exists())


class Studies(harness.ProgramTest):
    def setUp(self):
        super().setUp()
        for seed, name in enumerate(("one", "two"), 1):
            harness.write_model(self.folder / name, seed=seed, experts=4, layers=3)
            self.assertEqual(self.ram("analyze", name).status, 0)
        self.assertEqual(self.ram("fit", "one", "--uniform", "4:64", "-o", "out").status, 0)

    def size(self):
        return sum(p.stat().st_size for p in self.folder.glob("ram.db*"))

    def models(self):
        return {m["name"]: m for m in self.ram("studies", "--json").json["models"]}

    def test_it_lists_models_with_their_folders_sizes_and_plans(self):
        models = self.models()
        self.assertEqual(sorted(models), ["one", "two"])
        one = models["one"]
        self.assertEqual((one["folder"], one["there"]), (str(self.folder / "one"), True))
        self.assertEqual((one["plans"], models["two"]["plans"]), (1, 0))
        self.assertEqual(one["bytes"], one["weights"] * 2)
        self.assertGreater(one["kept_bytes"], 1000)
        ran = self.ram("studies")
        for part in ("one", "two", str(self.folder / "two"), "ram.db"):
            self.assertIn(part, ran.out)

    def test_rm_takes_one_model_away_and_the_file_shrinks(self):
        before = self.size()
        ran = self.ram("studies", "rm", "one", "--json")
        self.assertEqual(ran.status, 0, ran)
        self.assertEqual(ran.json["removed"], ["one"])
        self.assertLess(ran.json["bytes"], ran.json["bytes_before"])
        self.assertLess(self.size(), 0.75 * before)
        self.assertEqual(list(self.models()), ["two"])
        again = self.ram("analyze", "two", "--json").json
        self.assertEqual(again["tensors_measured"], 0)
        self.assertGreater(self.ram("analyze", "one", "--json").json["tensors_measured"], 0)

    def test_models_are_named_by_name_folder_or_fingerprint(self):
        fingerprint = self.models()["two"]["fingerprint"]
        for name in ("two", "./two/", str(self.folder / "two"), fingerprint, fingerprint[:8]):
            self.assertEqual(self.ram("studies", "rm", name).status, 0, name)
            self.assertEqual(list(self.models()), ["one"])
            self.assertEqual(self.ram("analyze", "two").status, 0)
        self.assert_refused(self.ram("studies", "rm", "tow"), 2, "did you mean two?")
        (self.folder / "a").mkdir()
        harness.write_model(self.folder / "a" / "one", seed=9)
        self.assertEqual(self.ram("analyze", "a/one").status, 0)
        self.assert_refused(self.ram("studies", "rm", "one"), 2, "fingerprint")
        for wrong in (("rm",), ("rm", "one", "--unused"), ("--unused",), ("remove", "one")):
            self.assert_refused(self.ram("studies", *wrong), 2, "ram studies")

    def test_data_that_another_model_shares_stays(self):
        sizes = {"experts": 4, "layers": 3}
        tensors = harness.tiny_tensors(seed=1, **sizes)
        tensors["lm_head.weight"] = harness.tiny_tensors(seed=5, **sizes)["lm_head.weight"]
        harness.write_model(self.folder / "tuned", tensors=tensors, **sizes)
        self.assertEqual(self.ram("analyze", "tuned").status, 0)
        self.assertEqual(self.ram("studies", "rm", "one").status, 0)
        shutil.rmtree(self.folder / "two")
        self.assertEqual(self.ram("studies", "rm", "--unused", "--json").json["removed"], ["two"])
        again = self.ram("analyze", "tuned", "--json").json
        self.assertEqual(again["tensors_measured"], 0)

    def test_copies_of_a_model_go_together(self):
        shutil.copytree(self.folder / "one", self.folder / "copy")
        self.assertEqual(self.ram("analyze", "copy").status, 0)
        self.assertEqual(sorted(self.models()), ["copy", "two"])  # the same content: one record
        before = self.size()
        self.assertEqual(self.ram("studies", "rm", "copy").status, 0)
        self.assertLess(self.size(), 0.75 * before)

    def test_unused_without_any(self):
        ran = self.ram("studies", "rm", "--unused", "--json")
        self.assertEqual((ran.status, ran.json["removed"]), (0, []), ran)
        self.assertEqual(sorted(self.models()), ["one", "two"])

    def test_no_study_yet(self):
        ran = self.ram("studies", "--study", "none.db", "--json")
        self.assertEqual((ran.status, ran.json["models"], ran.json["bytes"]), (0, [], 0))
        self.assertFalse((self.folder / "none.db").exists())
        self.assert_refused(self.ram("studies", "rm", "one", "--study", "none.db"), 3)


class Scored(harness.ProgramTest):
    SIZES = {"hidden": 64, "layers": 1, "intermediate": 64, "vocab": 1536}

    def test_folders_and_rows_go_with_their_model(self):
        config = harness.tiny_config(**self.SIZES) | {"bos_token_id": 0, "eos_token_id": 0}
        model = harness.write_model(self.folder / "model", config=config, **self.SIZES)
        shutil.copy(DEMO / "tokenizer.json", model)
        (self.folder / "t.txt").write_text("The river runs to the sea. " * 200)
        self.assertEqual(self.ram("fit", "model", "--uniform", "4:64", "-o", "out").status, 0)
        ran = self.ram("compare", "model", "out", "--text", "t.txt", "--length", "64")
        self.assertEqual(ran.status, 0, ran)
        listed = self.ram("studies", "--json").json["models"][0]
        self.assertEqual(sorted(f["name"] for f in listed["folders"]), ["model", "out"])
        self.assertEqual(self.ram("report", "-o", "r.html").status, 0)
        self.assertEqual(self.ram("studies", "rm", "model").status, 0)
        self.assertEqual(self.ram("studies", "--json").json["models"], [])
        self.assert_refused(self.ram("report", "-o", "r2.html"), 3)


if __name__ == "__main__":
    harness.main()
