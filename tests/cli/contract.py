#!/usr/bin/env python3
"""The command line's contract: JSON keys, one document on stdout, exit statuses, the byte promise."""

import csv
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

PLAN_KEYS = {"ram_plan", "model", "method", "encoder", "menu", "budget_bytes", "total_bytes",
             "unit_budget_bytes", "weight_bytes", "bits_per_weight", "min_safe_bytes", "objective",
             "lower_bound", "units"}
UNIT_KEYS = {"name", "format", "bytes", "weights", "prior", "nrmse"}


class Contract(harness.ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = harness.write_model(self.folder / "model", hidden=128, intermediate=256,
                                         vocab=192, experts=4)

    def plan(self, *options):
        return self.ram("plan", "model", "--json", *options)

    def assert_quiet(self, ran, status=0):
        self.assertEqual(ran.status, status, ran)
        self.assertEqual(ran.err, "", ran)

    def test_inspect_has_its_keys_measures_nothing_and_creates_no_study(self):
        ran = self.ram("inspect", "model", "--json")
        self.assert_quiet(ran)
        document = ran.json
        self.assertLessEqual({"model_type", "weights", "bytes", "units", "min_safe_bytes"},
                             document.keys())
        self.assertEqual(document["model_type"], "qwen3_moe")
        self.assertIsNone(document["min_safe_bytes"])
        self.assertGreater(document["min_safe_bytes_estimate"], 0)
        self.assertEqual(document["weights"], document["bytes"] // 2)
        for unit in document["units"]:
            self.assertLessEqual({"name", "role", "weights", "shape", "tensors", "kept"},
                                 unit.keys())
        experts = [u for u in document["units"] if u["role"] == "expert"]
        self.assertEqual(len(experts), 6)
        self.assertTrue(all(u["tensors"] == 4 for u in experts))
        self.assertEqual([p.name for p in self.folder.iterdir()], ["model"])

    def test_inspect_knows_the_smallest_safe_size_once_the_curves_are_there(self):
        estimate = self.ram("inspect", "model", "--json").json["min_safe_bytes_estimate"]
        self.assertEqual(self.ram("analyze", "model", "--quiet").status, 0)
        document = self.ram("inspect", "model", "--json").json
        self.assertNotIn("min_safe_bytes_estimate", document)
        least = document["min_safe_bytes"]
        self.assertLess(abs(estimate - least), 0.15 * least)
        self.assertEqual(self.plan("--budget", least).status, 0)
        self.assertEqual(self.plan("--budget", least - 1).status, 6)

    def test_analyze_writes_a_row_for_each_unit_and_format_and_numbers_round_trip(self):
        ran = self.ram("analyze", "model", "--csv", "curves.csv", "--json")
        self.assert_quiet(ran)
        self.assertGreater(ran.json["tensors_measured"], 0)
        text = (self.folder / "curves.csv").read_text()
        rows = list(csv.DictReader(io.StringIO(text)))
        self.assertEqual(list(rows[0]), ["unit", "role", "tensors", "weights", "format", "bytes",
                                         "nrmse", "sqnr_db", "mse"])
        units = {}
        for row in rows:
            units.setdefault(row["unit"], {})[row["format"]] = row
            for key in ("nrmse", "sqnr_db", "mse"):
                self.assertEqual(repr(float(row[key])), repr(float(repr(float(row[key])))))
        inspected = self.ram("inspect", "model", "--json").json["units"]
        self.assertEqual(set(units), {unit["name"] for unit in inspected})
        for name, formats in units.items():
            plain = formats["bf16"]
            self.assertEqual((float(plain["nrmse"]), float(plain["sqnr_db"])), (0, 100))
            self.assertEqual(len(formats), 1 if "norm" in name else 19, name)
        embedding = units["model.embed_tokens"]
        self.assertEqual(int(embedding["4:64"]["bytes"]), 192 * 128 // 2 + 2 * 192 * 2 * 2)
        self.assertLess(float(embedding["8:32"]["nrmse"]), float(embedding["4:64"]["nrmse"]))
        self.assertEqual(self.ram("analyze", "model", "--csv", "-", "--quiet").out, text)

    def test_a_second_analysis_measures_nothing(self):
        first = self.ram("analyze", "model", "--json").json
        again = self.ram("analyze", "model", "--json").json
        self.assertEqual(again["tensors_measured"], 0)
        self.assertEqual(again["tensors_known"],
                         first["tensors_measured"] + first["tensors_known"])
        self.assertEqual(again["fingerprint"], first["fingerprint"])
        reference = self.ram("analyze", "model", "--encoder", "reference", "--json").json
        self.assertGreater(reference["tensors_measured"], 0)

    def test_a_plan_has_its_keys_and_is_the_same_document_in_file_and_on_stdout(self):
        ran = self.plan("--budget", "50%", "-o", "plan.json")
        self.assert_quiet(ran)
        plan = ran.json
        self.assertLessEqual(PLAN_KEYS, plan.keys())
        self.assertEqual(plan["ram_plan"], 1)
        self.assertLessEqual({"name", "model_type", "fingerprint"}, plan["model"].keys())
        for unit in plan["units"]:
            self.assertLessEqual(UNIT_KEYS, unit.keys())
        self.assertEqual(json.loads((self.folder / "plan.json").read_text()), plan)
        self.assertEqual(json.loads(self.ram("plan", "model", "--budget", "50%", "-o", "-",
                                             "--quiet").out), plan)
        self.assertLessEqual(plan["total_bytes"], plan["budget_bytes"])
        self.assertLessEqual(plan["lower_bound"], plan["objective"])
        kept = [u for u in plan["units"] if u["prior"] is None]
        self.assertTrue(kept and all(u["format"] == "bf16" for u in kept))

    def test_every_planning_option_shows_in_the_plan(self):
        def formats(*options):
            plan = self.plan(*options).json
            return {unit["name"]: unit["format"] for unit in plan["units"]}
        pinned = formats("--budget", "60%", "--pin", "*.v_proj=6:64", "--pin", "lm_head=bf16")
        self.assertEqual(pinned["model.layers.0.self_attn.v_proj"], "6:64")
        self.assertEqual(pinned["lm_head"], "bf16")
        menu = formats("--bpw", "6", "--menu", "4:64,8:64", "--keep", "router,norm,embedding")
        self.assertLessEqual(set(menu.values()), {"4:64", "8:64", "bf16"})
        self.assertEqual(menu["model.embed_tokens"], "bf16")
        least = formats("--bpw", "7", "--min-bits", "5")
        self.assertTrue(all(f == "bf16" or int(f[0]) >= 5 for f in least.values()))
        uniform = formats("--uniform", "4:64")
        self.assertEqual(uniform["lm_head"], "4:64")
        for name in ("published", "ram"):  # its name in earlier versions
            plan = self.plan("--budget", "60%", "--method", name)
            self.assertEqual(plan.json["method"], "published")

    def test_too_small_a_budget_names_the_smallest_one(self):
        ran = self.plan("--budget", "1000")
        self.assertEqual(ran.status, 6, ran)
        document = ran.json
        self.assertLessEqual({"error", "min_safe_bytes"}, document.keys())
        self.assertTrue(ran.err.startswith("ram: error: ") and ran.err.count("\n") == 1, ran)
        least = document["min_safe_bytes"]
        self.assertIn(str(least), ran.err)
        self.assertEqual(self.plan("--budget", least).status, 0)
        fit = self.ram("fit", "model", "--effort", "fast", "--budget", least - 1, "-o", "out", "--json")
        self.assertEqual((fit.status, fit.json["min_safe_bytes"]), (6, least))
        self.assertFalse((self.folder / "out").exists())
        plain = self.ram("fit", "model", "--effort", "fast", "--budget", least - 1, "-o", "out")
        self.assert_refused(plain, 6, str(least), "--allow-unsafe")
        unsafe = self.ram("plan", "model", "--budget", least - 1, "--allow-unsafe", "--json")
        self.assertEqual(unsafe.status, 0)
        self.assertIn("ram: note: ", unsafe.err)

    def test_fit_keeps_the_byte_promise_and_ends_verified(self):
        for budget in (self.ram("analyze", "model", "--json").json["min_safe_bytes"], 555555):
            ran = self.ram("fit", "model", "--effort", "fast", "--budget", budget, "-o", f"out-{budget}", "--json")
            self.assertEqual(ran.status, 0, ran)
            document = ran.json
            self.assertLessEqual(PLAN_KEYS | {"seconds", "verified"}, document.keys())
            self.assertTrue(document["verified"])
            out = self.folder / f"out-{budget}"
            self.assertEqual(document["total_bytes"], harness.folder_bytes(out))
            self.assertLessEqual(document["total_bytes"], budget)
            self.assertIn("plan.json", harness.files_of(out))

    def test_the_result_of_fit_is_a_table_within_100_columns(self):
        ran = self.ram("fit", "model", "--effort", "fast", "--budget", "50%", "-o", "out", "--quiet")
        self.assert_quiet(ran)
        self.assertIn("mlx_lm.generate --model out", ran.out)
        self.assertIn("bits per weight", ran.out)
        self.assertLessEqual(max(map(len, ran.out.splitlines())), 100)

    def test_an_equal_out_is_done_and_another_is_refused(self):
        ask = ("fit", "model", "--effort", "fast", "--budget", "50%", "-o", "out")
        self.assertEqual(self.ram(*ask).status, 0)
        before = harness.files_of(self.folder / "out")
        stamps = {p: p.stat().st_mtime_ns for p in (self.folder / "out").rglob("*")}
        again = self.ram(*ask)
        self.assertEqual(again.status, 0, again)
        self.assertIn("already", again.out)
        self.assertEqual({p: p.stat().st_mtime_ns for p in (self.folder / "out").rglob("*")},
                         stamps)
        other = self.ram("fit", "model", "--effort", "fast", "--budget", "60%", "-o", "out")
        self.assert_refused(other, 2, "--force")
        self.assertEqual(harness.files_of(self.folder / "out"), before)
        forced = self.ram("fit", "model", "--effort", "fast", "--budget", "60%", "-o", "out", "--force")
        self.assertEqual(forced.status, 0, forced)
        self.assertNotEqual(harness.files_of(self.folder / "out"), before)

    def test_plan_then_quantize_writes_what_fit_writes(self):
        self.assertEqual(self.ram("fit", "model", "--effort", "fast", "--budget", "50%", "-o", "fitted").status, 0)
        self.assertEqual(self.plan("--budget", "50%", "-o", "plan.json").status, 0)
        ran = self.ram("quantize", "model", "--plan", "plan.json", "-o", "quantized", "--json")
        self.assertEqual(ran.status, 0, ran)
        self.assertLessEqual(PLAN_KEYS, ran.json.keys())
        self.assertEqual(harness.files_of(self.folder / "fitted"),
                         harness.files_of(self.folder / "quantized"))

    def test_verify_tells_a_whole_folder_from_a_changed_one(self):
        self.assertEqual(self.ram("fit", "model", "--effort", "fast", "--budget", "50%", "-o", "out").status, 0)
        for options in ((), ("--source", "model")):
            ran = self.ram("verify", "out", "--json", *options)
            self.assert_quiet(ran)
            self.assertEqual((ran.json["ok"], ran.json["problems"]), (True, []))
        ran = self.ram("verify", "out", "--study", "another.db", "--json")
        self.assertEqual((ran.status, ran.json["contents_known"]), (0, True))
        weights = self.folder / "out" / "model.safetensors"
        data = bytearray(weights.read_bytes())
        data[-100] ^= 0x40
        weights.write_bytes(data)
        # With the source, with the study, and with the folder alone.
        for options in (("--source", "model"), (), ("--study", "another.db")):
            ran = self.ram("verify", "out", "--json", *options)
            self.assert_quiet(ran, 1)
            self.assertFalse(ran.json["ok"])
            self.assertIn("model.safetensors: not the bytes that were written",
                          ran.json["problems"])
        self.assertEqual(self.ram("verify", "out", "--source", "model").status, 1)
        data[-100] ^= 0x40
        weights.write_bytes(data)
        self.assertEqual(self.ram("verify", "out").status, 0)
        (self.folder / "out" / "stray.txt").write_text("x")
        self.assertEqual(self.ram("verify", "out").status, 1)
        self.assert_refused(self.ram("verify", "nothing"), 3)

    def test_sweep_rises_from_the_smallest_safe_size_and_its_loss_falls(self):
        ran = self.ram("sweep", "model", "--points", "8", "--json")
        self.assert_quiet(ran)
        points, knee = ran.json["points"], ran.json["knee"]
        self.assertGreater(len(points), 4)
        for before, after in zip(points, points[1:]):
            self.assertLess(before["total_bytes"], after["total_bytes"])
            self.assertGreaterEqual(before["loss"], after["loss"])
        for point in points[:-1]:
            if point["bits_per_weight"] < 8:
                self.assertTrue(0 < point["limit"] < point["loss"])
        self.assertIsNone(points[-1]["limit"])
        self.assertTrue(0 <= knee < len(points))
        self.assertEqual(self.plan("--budget", points[0]["total_bytes"]).status, 0)
        table = self.ram("sweep", "model", "--points", "8", "--quiet").out
        self.assertEqual(table.count("<- knee"), 1)
        self.assertLessEqual(max(map(len, table.splitlines())), 100)

    def test_explain_finds_the_model_by_the_study_and_names_the_nearest_unit(self):
        self.assertEqual(self.plan("--budget", "50%", "-o", "plan.json").status, 0)
        ran = self.ram("explain", "plan.json", "--json")
        self.assert_quiet(ran)
        self.assertTrue(ran.json["units"])
        self.assertLess(ran.json["next_mb"]["objective"], ran.json["objective"])
        unit = self.ram("explain", "plan.json", "model.layers.1.self_attn.k_proj", "--json")
        self.assert_quiet(unit)
        self.assertEqual(sum(choice["chosen"] for choice in unit.json["choices"]), 1)
        self.assertEqual(len(unit.json["choices"]), 19)
        self.assertIn("<- chosen", self.ram("explain", "plan.json", "lm_head").out)
        self.assert_refused(self.ram("explain", "plan.json", "lm_haed"), 2, "lm_head")
        other = self.ram("explain", "plan.json", "--study", "other.db")
        self.assert_refused(other, 3, "--model")
        found = self.ram("explain", "plan.json", "--study", "other.db", "--model", "model")
        self.assertEqual(found.status, 0, found)

    def test_demo_ends_with_verified_folders_of_all_methods_and_can_be_run_again(self):
        for _ in range(2):
            ran = self.ram("demo", "--model", "model", "--json")
            self.assertEqual(ran.status, 0, ran)
            fits = ran.json["fits"]
            self.assertEqual([fit["method"] for fit in fits],
                             ["uniform", "published", "measured", "measured", "measured"])
            self.assertEqual(fits[3]["budget_bytes"], fits[1]["total_bytes"])
            self.assertNotIn("comparison", ran.json)  # this model has no held-out text
            for fit in fits:
                self.assertTrue(fit["verified"])
                self.assertLessEqual(fit["total_bytes"], fit["budget_bytes"])
                self.assertEqual(harness.folder_bytes(self.folder / fit["out"]),
                                 fit["total_bytes"])

    def test_the_demo_model_may_be_named_by_the_environment(self):
        (self.model / "tokenizer.json").unlink()  # measured on random ids, in less time
        env = harness.environment(RAM_DEMO_MODEL=str(self.model))
        ran = self.ram("demo", "--out", "elsewhere", env=env)
        self.assertEqual(ran.status, 0, ran)
        self.assertIn("elsewhere", ran.out)
        env = harness.environment(RAM_DEMO_MODEL=str(self.folder / "nothing"))
        self.assert_refused(self.ram("demo", env=env), 3)

    def test_the_demo_model_is_found_around_the_program_as_built_and_as_installed(self):
        (self.model / "tokenizer.json").unlink()  # measured on random ids, in less time
        for program, model in (("tree/build/release/ram", "tree/models/demo"),
                               ("prefix/bin/ram", "prefix/share/ram/demo")):
            place = self.folder / program
            place.parent.mkdir(parents=True)
            shutil.copy(harness.PROGRAM, place)
            shutil.copytree(self.model, self.folder / model)
            env = harness.environment(PATH=f"{place.parent}:{os.environ['PATH']}")
            done = subprocess.run(["ram", "demo", "--json"], cwd=self.folder, env=env,
                                  capture_output=True, check=True)
            self.assertTrue(json.loads(done.stdout)["model"].endswith(model))
            os.remove(place)

    def test_a_repository_id_is_found_in_the_local_cache(self):
        commit = "0123456789abcdef0123456789abcdef01234567"
        repository = self.folder / "hub" / "models--some--model"
        harness.write_model(repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
        env = harness.environment(HF_HUB_CACHE=str(self.folder / "hub"))
        ran = self.ram("inspect", "some/model", "--json", env=env)
        self.assertEqual(ran.status, 0, ran)
        missing = self.ram("inspect", "some/other", env=env)
        self.assert_refused(missing, 3, "some/other", "download")

    def test_threads_memory_and_dtype_change_nothing_they_should_not(self):
        one = self.plan("--budget", "50%", "--threads", "1", "--study", "1.db").json
        four = self.plan("--budget", "50%", "--threads", "4", "--study", "4.db",
                         "--memory", "1GiB").json
        self.assertEqual(one, four)
        half = self.plan("--budget", "50%", "--dtype", "f16").json
        self.assertIn("f16", {unit["format"] for unit in half["units"]})


if __name__ == "__main__":
    harness.main()
