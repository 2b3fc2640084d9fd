"""`ram logits` against transformers in float32: every family, every setting of its forward pass."""

import json

import make_models
import numpy as np
import support
import torch
from transformers import AutoModelForCausalLM

# Settings that change what a model computes, and the values that they have when omitted.
NEUTRAL = {
    "sliding_window": None,
    "use_sliding_window": False,
    "layer_types": None,
    "rope_scaling": None,
    "norm_topk_prob": True,
}


def same_bits(a, b):
    return np.array_equal(a.view(np.uint32), b.view(np.uint32))


class Logits(support.InteropCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        make_models.write_all(cls.scratch / "logit-models", make_models.LOGIT_MODELS)

    def transformers_logits(self, folder):
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        self.assertFalse(set(report["missing_keys"]) - {"lm_head.weight"}, report)
        self.assertFalse(report["unexpected_keys"], report)
        with torch.no_grad():
            ids = torch.tensor(support.text_ids(make_models.VOCABULARY))
            return model.eval()(ids).logits.numpy()

    def test_every_setting_of_every_family_computes_as_transformers(self):
        for m in make_models.LOGIT_MODELS:
            with self.subTest(model=m.name):
                folder = self.scratch / "logit-models" / m.name
                theirs = self.transformers_logits(folder)
                self.assert_same_logits(m.family, self.ram_logits(folder), theirs)

    def test_both_spellings_and_layouts_compute_the_same(self):
        for m in make_models.MODELS:
            with self.subTest(model=m.name):
                mine = self.ram_logits(self.models / m.name)
                twins = [t for t in make_models.MODELS if t.twin == m.twin]
                twin = self.ram_logits(self.models / twins[0].name)
                self.assertTrue(same_bits(mine, twin))
                # transformers opens no shards without an index, and no qwen2_moe in the spelling that it uses for all #
                # others.
                if m.family != "qwen2_moe":
                    theirs = self.transformers_logits(self.models / m.name)
                    self.assert_same_logits(m.family, mine, theirs)

    def test_neither_threads_nor_other_sequences_change_a_bit(self):
        ids = support.text_ids(make_models.VOCABULARY)
        for name in ("mixtral-window", "qwen3_moe", "llama-biases"):
            with self.subTest(model=name):
                folder = self.scratch / "logit-models" / name
                mine = self.ram_logits(folder, "--threads", "1")
                self.assertTrue(same_bits(mine, self.ram_logits(folder, "--threads", "3")))
                for row, alone in enumerate(ids):
                    logits = self.ram_logits(folder, ids=[alone])
                    self.assertTrue(same_bits(mine[row : row + 1], logits))

    def test_the_models_settings_matter(self):
        """The checks above detect a setting that is ignored."""
        for m in make_models.LOGIT_MODELS:
            if not (m.sliding_window or m.rope_scaling or m.renormalised is False):
                continue
            with self.subTest(model=m.name):
                folder = self.scratch / "logit-models" / m.name
                other = self.scratch / f"{m.name}-neutral"
                other.mkdir()
                for file in folder.iterdir():
                    if file.name != "config.json":
                        (other / file.name).symlink_to(file)
                config = json.loads((folder / "config.json").read_text())
                config.update({k: v for k, v in NEUTRAL.items() if k in config})
                (other / "config.json").write_text(json.dumps(config))
                change = self.transformers_logits(folder) - self.transformers_logits(other)
                self.assertGreater(np.abs(change).max(), 100 * support.LOGIT_TOLERANCE)
