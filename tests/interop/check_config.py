"""transformers parses config.json of finished folders as the same model (no torch needed)."""

import json

import support
from transformers import AutoConfig

# Not properties of the model: its folder, its storage, the version that wrote it.
IGNORED = {"_name_or_path", "quantization", "quantization_config", "dtype", "torch_dtype",
           "transformers_version"}  # fmt: skip


def fields(folder):
    """config.json as transformers parses it, with its two spellings of positions unified."""
    out = AutoConfig.from_pretrained(folder).to_dict()
    positions = dict(out.get("rope_parameters") or {})
    positions.pop("type", None)  # the old name of rope_type, which mlx_lm still requires
    theta = {"rope_theta": out.pop("rope_theta", positions.get("rope_theta"))}
    out.pop("rope_scaling", None)
    out["rope_parameters"] = {**theta, **positions}
    return {key: value for key, value in out.items() if key not in IGNORED}


class Config(support.InteropCase):
    def test_transformers_reads_the_same_model_from_both_spellings(self):
        for source in self.tiny_sources() + support.real_sources():
            with self.subTest(model=source.name):
                out = self.scratch / source.name
                self.ram.run("fit", source.folder, "--effort", "fast", "--budget", "60%", "-o", out)
                found, wanted = fields(out), fields(source.truth)
                for field, value in wanted.items():
                    self.assertEqual(value, found.get(field), field)

    def test_both_spellings_of_one_model_give_one_folder(self):
        for first in ("llama", "mistral", "qwen3", "qwen2_moe"):
            with self.subTest(model=first):
                configs = []
                for spelling in ("hub", "v5"):
                    out = self.scratch / f"{first}-{spelling}-uniform"
                    self.ram.run("fit", self.models / f"{first}-{spelling}", "--uniform", "4:64",
                                 "-o", out)  # fmt: skip
                    config = json.loads((out / "config.json").read_text())
                    configs.append({k: v for k, v in config.items() if k not in IGNORED})
                self.assertEqual(configs[0], configs[1])
