"""transformers' logits of finished folders agree with mlx's.

transformers reads no affine weights, so mlx first decodes a folder into the hub's layout; its own
config.json is kept, without the two keys that announce the format.
"""

import json
import re

import make_models
import mlx.core as mx
import numpy as np
import support
import torch
from mlx.utils import tree_flatten
from transformers import AutoModelForCausalLM

HUB_EXPERTS = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
EXPERTS = re.compile(r"(.*)\.switch_mlp\.(gate_proj|up_proj|down_proj)\.weight$")


def decoded(model):
    """Every tensor in float32 under the hub's names, experts one by one."""
    modules = dict(model.named_modules())
    out = {}
    for name, array in tree_flatten(model.parameters()):
        path, kind = name.rsplit(".", 1)
        module = modules[path]
        if kind in ("scales", "biases") and hasattr(module, "bits"):
            continue
        if kind == "weight" and hasattr(module, "bits"):
            array = mx.dequantize(
                module.weight,
                module.scales.astype(mx.float32),
                module.biases.astype(mx.float32),
                module.group_size,
                module.bits,
            )
        values = np.array(array.astype(mx.float32))
        match = EXPERTS.match(name)
        if not match:
            out[name] = values
            continue
        block, projection = match.groups()
        if block.endswith("block_sparse_moe"):
            projection = HUB_EXPERTS[projection]
        for e, expert in enumerate(values):
            out[f"{block}.experts.{e}.{projection}.weight"] = expert
    return out


class Transformers(support.InteropCase):
    def fit(self, source):
        out = self.scratch / source.name
        self.ram.run("fit", source.folder, "--effort", "fast", "--budget", "60%", "-o", out)
        return out

    def test_the_writer_leaves_nothing_that_changes_the_logits(self):
        for source in self.tiny_sources():
            with self.subTest(model=source.name):
                model = support.load(self.fit(source))
                mine = np.array(support.logits(model, model.args.vocab_size))[0]
                theirs = self.logits(self.decode(source, model), model.args.vocab_size)
                # float32 sums in another order: the families' own tolerance.
                self.assertLess(np.abs(mine - theirs).max(), 1e-4 * max(1, np.abs(theirs).max()))

    def decode(self, source, model):
        folder = self.scratch / f"{source.name}-decoded"
        folder.mkdir()
        config = json.loads((self.scratch / source.name / "config.json").read_text())
        for key in ("quantization", "quantization_config"):
            config.pop(key, None)
        (folder / "config.json").write_text(json.dumps(config))
        make_models.write_safetensors(folder / "model.safetensors", decoded(model), "float32")
        return folder

    def logits(self, folder, vocabulary):
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        self.assertFalse(set(report["missing_keys"]) - {"lm_head.weight"}, report)
        self.assertFalse(report["unexpected_keys"], report)
        with torch.no_grad():
            ids = torch.tensor(support.prompt(vocabulary))
            return model.eval()(ids).logits[0].numpy()
