"""`--method published` against the published method as docs/reference-method.md describes it, reimplemented here
with numpy: the simulated quantizer's curves, the priors, and the greedy choice, unit for unit."""

import csv
import json

import mlx.core as mx
import numpy as np
import support

MENU = [(4, 32), (4, 64), (4, 128), (6, 32), (6, 64), (8, 64), (8, 128)]  # balanced, 4 bits at least
BUDGETS = ("35%", "42%", "60%")


def simulated(weights, bits, group):
    """NRMSE of the published quantizer: float32, scale and offset not rounded."""
    x = weights.reshape(-1, group)
    low, high = x.min(1, keepdims=True), x.max(1, keepdims=True)
    steps = np.float32(2**bits - 1)
    scale = np.maximum((high - low) / steps, np.float32(1e-12))
    restored = np.clip(np.rint((x - low) / scale), 0, steps) * scale + low
    error = (restored - x).astype(np.float64)
    return float(np.sqrt((error**2).mean() / (x.astype(np.float64) ** 2).mean()))


def parts_of(tensors, name):
    """The tensors of one of mlx_lm's units: one, or those of all experts in order."""
    if ".switch_mlp." not in name:
        return [tensors[name + ".weight"]]
    experts = name.replace("switch_mlp", "experts.{}") + ".weight"
    count = 0
    while experts.format(count) in tensors:
        count += 1
    return [tensors[experts.format(e)] for e in range(count)]


def prior(unit, layers):
    if unit["role"] in ("embedding", "head"):
        return 10
    layer = int((unit["name"].split(".layers.") + ["-1"])[1].split(".")[0])
    return 3 if layer == 0 else 2 if layer == layers - 1 else 1


def greedy(units, budget):
    """All pairs of upgrades by efficiency, one pass; each unit's options in the published order."""
    choice = [0] * len(units)
    total = sum(options[0][1] for options in units)
    upgrades = []
    for u, options in enumerate(units):
        for a, low in enumerate(options):
            for b, high in list(enumerate(options))[a + 1 :]:
                if low[2] > high[2]:
                    grown = high[1] - low[1]
                    upgrades.append(((low[2] - high[2]) / grown if grown > 0 else np.inf, u, a, b))
    upgrades.sort(key=lambda upgrade: -upgrade[0])
    for _, u, a, b in upgrades:
        grown = units[u][b][1] - units[u][a][1]
        if choice[u] == a and total + grown <= budget:
            choice[u] = b
            total += grown
    return choice


class Published(support.InteropCase):
    def curves(self, source):
        """(unit, format) -> row of the CSV."""
        path = self.scratch / f"{source.name}.csv"
        self.ram.run("analyze", source.folder, "--encoder", "reference", "--csv", path)
        with open(path, newline="") as file:
            return {(row["unit"], row["format"]): row for row in csv.DictReader(file)}

    def sources(self):
        return [s for s in support.real_sources() if s.name in ("demo", "text-qwen3-14m")]

    def test_curves_are_those_of_the_published_quantizer(self):
        for source in self.sources():
            rows = self.curves(source)
            units = self.ram.run("inspect", source.folder)["units"]
            tensors = mx.load(str(source.folder / "model.safetensors"))
            for unit in [u for u in units if not u["kept"]][::7]:
                parts = [
                    np.array(part.astype(mx.float32)) for part in parts_of(tensors, unit["name"])
                ]
                self.assertEqual(unit["tensors"], len(parts))
                for bits, group in MENU + [(2, 64), (3, 32), (5, 128)]:
                    with self.subTest(model=source.name, unit=unit["name"], bits=bits, group=group):
                        row = rows[unit["name"], f"{bits}:{group}"]
                        losses = [simulated(part, bits, group) for part in parts]
                        near = 1e-5
                        self.assertAlmostEqual(float(row["nrmse"]) / np.mean(losses), 1, delta=near)
                        least = -20 * np.log10(max(losses))
                        self.assertAlmostEqual(float(row["sqnr_db"]), least, delta=near * 10)

    def test_plans_are_those_of_the_published_greedy(self):
        for source in self.sources():
            rows = self.curves(source)
            document = self.ram.run("inspect", source.folder)
            units = [u for u in document["units"] if not u["kept"]]
            options = []
            for unit in units:
                weight = prior(unit, document["layers"])
                found = [("bf16", 2 * unit["weights"], 0.0)]
                for bits, group in sorted(MENU, key=lambda f: (f[0], -f[1]), reverse=True):
                    row = rows.get((unit["name"], f"{bits}:{group}"))
                    if row and float(row["sqnr_db"]) >= 9:
                        loss = weight * float(row["nrmse"])
                        found.append((f"{bits}:{group}", int(row["bytes"]), loss))
                options.append(found[::-1])
            used = set()
            for budget in BUDGETS:
                with self.subTest(model=source.name, budget=budget):
                    plan = self.ram.run("plan", source.folder, "--method", "published", "--budget", budget)
                    planned = {u["name"]: u for u in plan["units"]}
                    kept = sum(u["bytes"] for u in plan["units"] if u["prior"] is None)
                    choice = greedy(options, plan["unit_budget_bytes"] - kept)
                    loss = 0.0
                    for unit, found, chosen in zip(units, options, choice, strict=True):
                        self.assertEqual(found[chosen][0], planned[unit["name"]]["format"])
                        loss += found[chosen][2]
                    self.assertAlmostEqual(plan["objective"] / loss, 1, delta=1e-12)
                    used |= {u["format"] for u in plan["units"]}
            # The largest budget may need only two formats; all budgets together test the order of more.
            self.assertGreater(len(used), 2, f"a test of {json.dumps(sorted(used))} only")
