"""`ram logits` against mlx_lm in float32: sources, and quantized folders from ram, from mlx_lm and in
the forms that others publish."""

import json
import shutil

import make_models
import mlx.core as mx
import numpy as np
import support
from mlx_lm import convert

ALL_FORMATS = [f"{bits}:{group}" for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]


def computes_otherwise(m):
    """mlx_lm supports no sliding window in these families, no truncate in yarn, no packed experts."""
    return m.sliding_window or not dict(m.rope_scaling).get("truncate", True) or m.packed


def mlx_logits(folder):
    model = support.cast(support.load(folder), mx.float32)
    out = model(mx.array(support.text_ids(make_models.VOCABULARY)))
    mx.eval(out)
    return np.array(out)


def mixed(path, module):
    """A predicate as users give it to convert: other formats for some modules, and some not quantized."""
    if not hasattr(module, "to_quantized") or "o_proj" in path:
        return False
    if "v_proj" in path or "down_proj" in path:
        return {"group_size": 32, "bits": 6, "mode": "affine"}
    if "embed_tokens" in path:
        return {"group_size": 128, "bits": 8, "mode": "affine"}
    return True


class Logits(support.InteropCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sources = cls.scratch / "logit-models"
        cls.models_ = [m for m in make_models.LOGIT_MODELS if not computes_otherwise(m)]
        make_models.write_all(cls.sources, cls.models_)

    def check(self, m, folder, truth=None):
        self.assert_same_logits(m.family, self.ram_logits(folder), mlx_logits(truth or folder))

    def converted(self, m, name, **options):
        out = self.scratch / f"{m.name}-{name}"
        with support.silent():
            convert(str(self.sources / m.name), str(out), quantize=True, dtype=m.dtype, **options)
        return out

    def divisible(self):
        """Those whose rows every group size divides."""
        return [m for m in self.models_ if m.hidden % 128 == 0]

    def test_sources_of_every_family(self):
        families = {m.family for m in self.models_}
        self.assertEqual(7, len(families))
        for m in self.models_:
            with self.subTest(model=m.name):
                self.check(m, self.sources / m.name)

    def test_folders_of_ram_in_all_formats(self):
        for number, m in enumerate(self.models_):
            with self.subTest(model=m.name):
                source, out = self.sources / m.name, self.scratch / f"{m.name}-mixed"
                plan = self.scratch / f"{m.name}.json"
                self.ram.run("plan", source, "--budget", "90%", "-o", plan)
                document = json.loads(plan.read_text())
                self.deal_formats(source, document, number)
                plan.write_text(json.dumps(document))
                self.ram.run("quantize", source, "--plan", plan, "-o", out)
                self.check(m, out)

    def deal_formats(self, source, document, first):
        """Gives every unit the next format that its rows allow; every ninth stays unquantized."""
        units = self.ram.run("inspect", source)["units"]
        columns = {unit["name"]: unit["shape"][-1] for unit in units}
        step = first * 5
        for unit in document["units"]:
            if ":" not in unit["format"]:
                continue
            step += 1
            if step % 9 == 0:
                unit["format"] = support.SHORT[self.stored_dtype(source)]
                continue
            while columns[unit["name"]] % int(ALL_FORMATS[step % 18].split(":")[1]):
                step += 1
            unit["format"] = ALL_FORMATS[step % 18]

    def stored_dtype(self, source):
        dtype = json.loads((source / "config.json").read_text())["torch_dtype"]
        return "bfloat16" if dtype == "float32" else dtype

    def test_folders_that_fit_made(self):
        for m in self.models_:
            with self.subTest(model=m.name):
                out = self.scratch / f"{m.name}-fit"
                budget = "23%" if m.dtype == "float32" else "45%"
                self.ram.run("fit", self.sources / m.name, "--effort", "fast", "--budget", budget, "-o", out)
                self.check(m, out)

    def test_folders_that_mlx_lm_made(self):
        for number, m in enumerate(self.divisible()):
            bits, group_size = ((4, 64), (8, 32), (3, 128), (6, 64), (5, 128), (2, 32))[number % 6]
            for name, options in (
                (f"{bits}:{group_size}", {"q_bits": bits, "q_group_size": group_size}),
                ("predicate", {"q_bits": 4, "q_group_size": 64, "quant_predicate": mixed}),
            ):
                with self.subTest(model=m.name, made=name):
                    folder = self.converted(m, name.replace(":", "-"), **options)
                    self.check(m, folder)

    def test_configs_as_other_people_have_them(self):
        plain = {"group_size": 64, "bits": 4}
        spellings = {
            "top level only": {"quantization": {**plain, "mode": "affine"}},
            "without mode": {"quantization": plain, "quantization_config": plain},
            "no quantization": {"quantization_config": plain},
        }
        # Not qwen3_moe: mlx_lm's own rule gives its router another format, which a config must name.
        for m in [m for m in self.divisible() if m.family != "qwen3_moe"]:
            folder = self.converted(m, "plain", q_bits=4, q_group_size=64)
            for name, keys in spellings.items():
                with self.subTest(model=m.name, config=name):
                    other = self.scratch / f"{m.name}-{name.replace(' ', '-')}"
                    shutil.copytree(folder, other)
                    config = json.loads((folder / "config.json").read_text())
                    for key in ("quantization", "quantization_config"):
                        config.pop(key)
                    config.update(keys)
                    (other / "config.json").write_text(json.dumps(config))
                    # mlx_lm refuses a quantization_config alone; older versions wrote it.
                    self.check(m, other, folder)
