#!/usr/bin/env python3
"""A plan edited by hand: explained at any size, and written within the given budget."""

import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

USAGE = 2


class EditedPlan(harness.ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = harness.write_model(self.folder / "model", hidden=128, intermediate=256,
                                         vocab=192, experts=4)
        ran = self.ram("plan", "model", "--budget", "40%", "-o", "plan.json")
        self.assertEqual(ran.status, 0, ran)
        self.plan = json.loads((self.folder / "plan.json").read_text())

    def edit(self, **formats):
        """Writes edited.json: one bit more for a unit of few bits, or the given change."""
        plan = json.loads(json.dumps(self.plan))
        if not formats:
            unit = next(u for u in plan["units"] if u["format"][0] in "345")
            bits = int(unit["format"][0]) + 1
            formats = {unit["name"]: f"{bits}{unit['format'][1:]}"}
        for unit in plan["units"]:
            unit["format"] = formats.get(unit["name"], unit["format"])
        (self.folder / "edited.json").write_text(json.dumps(plan))
        return formats

    def test_a_plan_over_its_budget_is_refused_with_the_file_and_the_remedies(self):
        formats = self.edit()
        ran = self.ram("quantize", "model", "--plan", "edited.json", "-o", "out")
        self.assert_refused(ran, USAGE, "edited.json", "ram explain edited.json", "--budget")
        least = int(re.search(r"--budget (\d+)", ran.err)[1])
        short = self.ram("quantize", "model", "--plan", "edited.json", "-o", "out", "--budget",
                         least - 1)
        self.assert_refused(short, USAGE, "1 bytes too many")
        done = self.ram("quantize", "model", "--plan", "edited.json", "-o", "out", "--budget", least,
                        "--json")
        self.assertEqual(done.status, 0, done)
        self.assertEqual(done.json["total_bytes"], least)
        self.assertEqual(harness.folder_bytes(self.folder / "out"), least)
        made = json.loads((self.folder / "out/plan.json").read_text())
        self.assertEqual(made["request"]["budget"], least)
        for unit in made["units"]:
            if unit["name"] in formats:
                self.assertEqual(unit["format"], formats[unit["name"]])
        self.assertEqual(self.ram("verify", "out", "--source", "model").status, 0)
        again = self.ram("quantize", "model", "--plan", "out", "-o", "out")
        self.assertEqual(again.status, 0, again)
        self.assertIn("already", again.out)

    def test_explain_says_the_excess_instead_of_refusing(self):
        self.edit()
        ran = self.ram("explain", "edited.json")
        self.assertEqual(ran.status, 0, ran)
        self.assertIn("more than its budget", ran.out)
        self.assertIn("--budget", ran.out)
        document = self.ram("explain", "edited.json", "--json").json
        self.assertGreater(document["over_bytes"], 0)
        steps = document["within_budget"]["steps"]
        self.assertTrue(steps)
        self.assertLessEqual(sum(step["bytes"] for step in steps), -document["over_bytes"] + 4096)
        least = document["least_budget"]
        fits = self.ram("quantize", "model", "--plan", "edited.json", "-o", "out", "--budget", least)
        self.assertEqual(fits.status, 0, fits)
        plain = self.ram("explain", "plan.json", "--json").json
        self.assertNotIn("over_bytes", plain)

    def test_a_unit_of_it_is_explained_too(self):
        name = next(iter(self.edit()))
        ran = self.ram("explain", "edited.json", name)
        self.assertEqual(ran.status, 0, ran)
        self.assertIn("chosen", ran.out)

    def test_own_text_of_another_rule_is_refused_before_anything_is_measured(self):
        plan = json.loads(json.dumps(self.plan))
        plan["encoder"] = "feedback"
        for rule, remedy in ((1, "make the plan again"), (99, "use a later ram")):
            plan["request"]["calibration"] = (f"own rows 64 length 256 seed 42 rule {rule} sequential "
                                              "digest 0123abcd")
            (self.folder / "edited.json").write_text(json.dumps(plan))
            ran = self.ram("quantize", "model", "--plan", "edited.json", "-o", "out", "--study",
                           "none.db")
            self.assert_refused(ran, USAGE, f"own text of rule {rule}", remedy)
            self.assertFalse((self.folder / "none.db").exists())

    def test_several_units_are_meant_by_a_pattern_or_a_part_of_a_name(self):
        names = [unit["name"] for unit in self.plan["units"]]
        for word, part in (("*.q_proj", ".q_proj"), ("q_proj", ".q_proj"),
                           ("model.layers.1.*", "model.layers.1."), ("layers.1.", "layers.1.")):
            units = self.ram("explain", "plan.json", word, "--json").json["units"]
            self.assertEqual([unit["name"] for unit in units], [n for n in names if part in n], word)
            text = self.ram("explain", "plan.json", word).out
            self.assertIn("The whole name of one", text)
        self.assertIn("<- chosen", self.ram("explain", "plan.json", "*.1.*.q_proj").out)
        self.assert_refused(self.ram("explain", "plan.json", "*.x_proj"), USAGE, "no such unit")

    def test_a_folder_without_a_plan_has_its_own_message(self):
        ran = self.ram("explain", "model")
        self.assert_refused(ran, 3, "model is a folder without a plan.json", "ram fit")

    def test_other_mistakes_name_the_file(self):
        self.edit(**{"model.norm": "4:64"})
        ran = self.ram("quantize", "model", "--plan", "edited.json", "-o", "out")
        self.assert_refused(ran, USAGE, "edited.json", "model.norm")

    def test_a_uniform_plan_has_no_budget(self):
        self.assertEqual(self.ram("plan", "model", "--uniform", "4:64", "-o", "uniform.json").status,
                         0)
        ran = self.ram("quantize", "model", "--plan", "uniform.json", "-o", "out", "--budget", "90%")
        self.assert_refused(ran, USAGE, "uniform.json", "--budget")

    def test_a_plan_in_bits_per_weight_takes_what_its_formats_take_or_a_budget(self):
        ran = self.ram("plan", "model", "--bpw", "5", "-o", "plan.json")
        self.assertEqual(ran.status, 0, ran)
        self.plan = json.loads((self.folder / "plan.json").read_text())
        self.edit()
        ran = self.ram("quantize", "model", "--plan", "edited.json", "-o", "out", "--json")
        self.assertEqual(ran.status, 0, ran)
        ran = self.ram("quantize", "model", "--plan", "edited.json", "-o", "less", "--budget", 1000)
        self.assert_refused(ran, USAGE, "bytes too many")


if __name__ == "__main__":
    harness.main()
