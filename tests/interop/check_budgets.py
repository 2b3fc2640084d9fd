"""The byte promise and `--bpw` on random requests: plans for many, folders for some."""

import json
import random

import support

PLANS = 200
BUILT_EACH = 10  # every tenth plan becomes a folder


class Budgets(support.InteropCase):
    def plan(self, source, *request, expect=0):
        plan = self.scratch / "plan.json"
        said = self.ram.run("plan", source.folder, *request, "-o", plan, expect=expect)
        return json.loads(plan.read_text()) if expect == 0 else said

    def build(self, source, number):
        out = self.scratch / f"out-{number}"
        self.ram.run("quantize", source.folder, "--plan", self.scratch / "plan.json", "-o", out)
        return support.folder_bytes(out)

    def test_no_folder_is_larger_than_its_budget(self):
        draw = random.Random(20240607)
        sources = self.tiny_sources() + support.real_sources()
        least, whole = {}, {}
        for number in range(PLANS):
            source = sources[number % len(sources)]
            if source.name not in least:
                refused = self.plan(source, "--budget", 1000, expect=6)
                least[source.name] = refused["min_safe_bytes"]
                whole[source.name] = support.folder_bytes(source.folder)
            low, high = least[source.name], max(least[source.name], whole[source.name])
            budget = draw.randint(low, high + (high - low) // 20)
            with self.subTest(model=source.name, budget=budget):
                plan = self.plan(source, "--budget", budget)
                self.assertLessEqual(plan["total_bytes"], budget)
                self.assertEqual(budget, plan["budget_bytes"])
                self.assertLessEqual(plan["weight_bytes"], plan["unit_budget_bytes"])
                # At most 64 KiB + 0.1 % may be set aside for JSON and headers and stay unused.
                aside = budget - plan["unit_budget_bytes"]
                rest = plan["total_bytes"] - plan["weight_bytes"]
                self.assertLessEqual(aside - rest, 65536 + budget // 1000)
                self.assertLessEqual(plan["lower_bound"], plan["objective"] * (1 + 1e-12))
                if number % BUILT_EACH == 0:
                    self.assertEqual(plan["total_bytes"], self.build(source, number))

    def test_bits_per_weight_asked_for_are_not_exceeded(self):
        draw = random.Random(7)
        for source in self.tiny_sources()[::3]:
            bits = round(draw.uniform(5, 14), 3)
            with self.subTest(model=source.name, bits=bits):
                plan = self.plan(source, "--bpw", bits)
                self.assertLessEqual(plan["bits_per_weight"], bits)
                self.assertEqual(plan["total_bytes"], self.build(source, f"bpw-{source.name}"))
