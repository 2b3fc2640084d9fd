"""Coefficients of `ram fit --coefficients gradient` against PyTorch's autograd through transformers: every family,
every setting of its forward pass, of the same ids and labels."""

import sqlite3

import make_models
import numpy as np
import support
import torch
from check_perplexity import load

ROWS, LENGTH = 2, 40
TOLERANCE = 1e-3


def unit_gradients(model):
    """Unit -> [(weights, their gradient)]; experts of a unit are one array. Names are those of mlx_lm."""
    out = {}
    for name, weight in model.named_parameters():
        if weight.dim() < 2 or weight.grad is None:
            continue
        if name.endswith("experts.gate_up_proj"):
            block = name.removesuffix("experts.gate_up_proj")
            for unit, w, g in zip(("gate_proj", "up_proj"), weight.chunk(2, 1), weight.grad.chunk(2, 1)):
                out[f"{block}switch_mlp.{unit}"] = (w, g)
        elif name.endswith("experts.down_proj"):
            out[name.replace("experts.", "switch_mlp.")] = (weight, weight.grad)
        else:
            out[name.removesuffix(".weight")] = (weight, weight.grad)
    return out


def coefficients(model, rows):
    """1/2 mean(W^2) ||gradient of the row's log-likelihood||^2 per token, the mean over rows."""
    sums = {}
    for ids in rows:
        model.zero_grad()
        logits = model(torch.tensor([ids])).logits[0, :-1]
        logs = torch.log_softmax(logits, -1)
        logs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].sum().backward()
        for name, (weight, gradient) in unit_gradients(model).items():
            square = (weight.double() ** 2).mean() * (gradient.double() ** 2).sum() / 2
            sums[name] = sums.get(name, 0) + float(square) / (len(ids) - 1) / len(rows)
    return sums


class Gradients(support.InteropCase):
    def text(self, digest):
        """The ids of a calibration text in the study, in rows."""
        with sqlite3.connect(self.ram.study) as study:
            query = "SELECT row_length, ids FROM calibration_text WHERE digest = ?"
            length, ids = study.execute(query, (digest,)).fetchone()
        return np.frombuffer(ids, "<i4").reshape(-1, length).tolist()

    def test_coefficients_are_those_of_autograd(self):
        worst = 0
        make_models.write_all(self.scratch / "models", make_models.LOGIT_MODELS)
        for m in make_models.LOGIT_MODELS:
            with self.subTest(model=m.name):
                folder = self.scratch / "models" / m.name
                fitted = self.ram.run(
                    "fit", folder, "--bpw", 7, "--method", "measured", "--coefficients", "gradient",
                    "--calibration-rows", ROWS, "--calibration-length", LENGTH, "-o", self.scratch / m.name)  # fmt: skip
                calibration = fitted["calibration"]
                expected = coefficients(load(folder), self.text(calibration["digest"]))
                self.assertGreater(len(calibration["coefficients"]), 7 * m.layers)
                for unit in calibration["coefficients"]:
                    name = unit["name"].replace("block_sparse_moe", "mlp")
                    ratio = unit["coefficient"] / expected[name]
                    worst = max(worst, abs(ratio - 1))
                    self.assertAlmostEqual(1, ratio, delta=TOLERANCE, msg=unit)
        print(f"check_gradients: coefficients within {worst:.1e} of autograd's")
