"""`ram perplexity` and `ram compare` against transformers, tokenizers, numpy and scipy.

The protocol is implemented here a second time with those programs: rows and their order must be
the same, losses and divergences equal to float32's last digits, statistics to double's.
"""

import json
import math
from pathlib import Path

import numpy as np
import support
import torch
from check_transformers import decoded
from make_models import write_safetensors
from scipy import stats
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

LENGTH = 256
ROWS = 7
SHARED = support.ROOT.parent / "shared/data"


def read_wikitext(path):
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    return "\n\n".join(line for line in lines if line.strip())


def rows_of(folder, text, length=LENGTH, rows=ROWS, bos="start"):
    """Indices and ids of the rows that the protocol draws."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with_special = tokenizer.encode(text, add_special_tokens=True).ids
    without = tokenizer.encode(text, add_special_tokens=False).ids
    prefix = []
    if bos == "every-row":
        extra = len(with_special) - len(without)
        prefix = with_special[:extra]
    ids = with_special if bos == "start" else without
    step = length - len(prefix)
    total = len(ids) // step
    chosen = range(total)
    if rows is not None and rows < total:
        chosen = np.sort(np.random.RandomState(42).choice(total, rows, replace=False))
    return total, [int(i) for i in chosen], [
        prefix + ids[i * step : (i + 1) * step] for i in chosen
    ]


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


def log_probabilities(model, ids):
    """Log-probabilities of the next token: [tokens - 1, vocabulary], float64."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1]
    return torch.log_softmax(logits.double(), -1)


def losses(logs, ids):
    targets = torch.tensor(ids[1:])
    return -logs[torch.arange(len(targets)), targets]


class Perplexity(support.InteropCase):
    def texts(self, source):
        """A text that the model predicts better than chance, and how its lines are joined."""
        if source.name == "demo":
            return support.ROOT / "models/demo/heldout.txt", "plain"
        whole = (SHARED / "eval/wiki.test.raw").read_text(encoding="utf-8")
        path = self.scratch / "wiki.raw"
        path.write_text(whole[:60_000].rsplit("\n", 1)[0], encoding="utf-8")
        return path, "wikitext"

    def content(self, path, form):
        return read_wikitext(path) if form == "wikitext" else path.read_text(encoding="utf-8")

    def test_rows_order_and_losses_are_those_of_transformers(self):
        for source in support.real_sources():
            path, form = self.texts(source)
            model = load(source.folder)
            for bos in ("start", "every-row", "none"):
                with self.subTest(model=source.name, bos=bos):
                    total, chosen, rows = rows_of(
                        source.folder, self.content(path, form), bos=bos
                    )
                    found = self.ram.run(
                        "perplexity", source.folder, "--text", path, "--length", LENGTH,
                        "--rows", ROWS, "--bos", bos,
                    )
                    self.assertEqual(form, found["text_format"])
                    self.assertEqual(total, found["rows_total"])
                    self.assertEqual(chosen, [row["row"] for row in found["rows"]])
                    sums = []
                    for ids, row in zip(rows, found["rows"]):
                        wanted = float(losses(log_probabilities(model, ids), ids).sum())
                        sums.append(wanted)
                        self.assertEqual(len(ids) - 1, row["tokens"])
                        self.assertLess(abs(row["nll_sum"] - wanted), 1e-4 * wanted)
                    self.check_summary(found, sums)

    def check_summary(self, found, sums):
        means = np.sort(np.array(sums) / (LENGTH - 1))
        k = max(1, int(0.05 * len(means)))
        for key, value in (
            ("mean_perplexity", math.exp(means.mean())),
            ("median_perplexity", float(np.median(np.exp(means)))),
            ("trimmed_perplexity", math.exp(means[k:-k].mean())),
        ):
            self.assertLess(abs(found[key] / value - 1), 1e-3, key)
        outliers = sum(1 for mean in means if math.exp(mean) > 100)
        self.assertEqual(outliers, len(found["outlier_rows"]))


class Compare(support.InteropCase):
    """The demo model and its 3-bit version, which mlx decodes for transformers."""

    def setUp(self):
        self.reference = support.ROOT / "models/demo"
        self.text = support.ROOT / "models/demo/heldout.txt"
        self.model = self.scratch / "demo-3bit"
        self.ram.run("fit", self.reference, "--uniform", "3:64", "-o", self.model)
        self.found = self.ram.run(
            "compare", self.reference, self.model, "--text", self.text, "--length", LENGTH,
            "--rows", 24,
        )

    def decode(self):
        folder = self.scratch / "decoded"
        folder.mkdir(exist_ok=True)
        config = json.loads((self.model / "config.json").read_text())
        for key in ("quantization", "quantization_config"):
            config.pop(key, None)
        (folder / "config.json").write_text(json.dumps(config))
        tensors = decoded(support.load(self.model))
        write_safetensors(folder / "model.safetensors", tensors, "float32")
        return load(folder)

    def test_divergences_and_statistics_are_those_of_torch_and_scipy(self):
        entry = self.found["models"][0]
        text = self.text.read_text(encoding="utf-8")
        _, _, rows = rows_of(self.reference, text, rows=24)
        reference, model = load(self.reference), self.decode()
        kl, same, a_sums, b_sums = [], 0, [], []
        for ids in rows:
            a, b = log_probabilities(reference, ids), log_probabilities(model, ids)
            kl.append((a.exp() * (a - b)).sum(-1).numpy())
            same += int((a.argmax(-1) == b.argmax(-1)).sum())
            a_sums.append(float(losses(a, ids).sum()))
            b_sums.append(float(losses(b, ids).sum()))
        kl = np.concatenate(kl)
        for key, value in (
            ("kl_mean", kl.mean()),
            ("kl_median", np.median(kl)),
            ("kl_p90", np.percentile(kl, 90)),
            ("kl_p99", np.percentile(kl, 99)),
            ("kl_p999", np.percentile(kl, 99.9)),
            ("kl_max", kl.max()),
        ):
            self.assertLess(abs(entry[key] - value), 1e-6 + 1e-3 * value, key)
        self.assertLess(abs(entry["same_top1"] * len(kl) - same), 3)
        delta = (sum(b_sums) - sum(a_sums)) / len(kl)
        self.assertLess(abs(entry["delta_nll"] - delta), 1e-5)

    def test_statistics_are_scipys_of_the_same_rows(self):
        entry = self.found["models"][0]
        tokens = np.array([row["tokens"] for row in entry["rows"]])
        self.assertEqual(1, len(set(tokens.tolist())))
        sums = [
            np.array([row["nll_sum"] for row in model["rows"]])
            for model in (entry, self.found["reference_model"])
        ]
        means = (sums[0] - sums[1]) / tokens
        test = stats.ttest_1samp(means, 0)
        interval = test.confidence_interval(0.95)
        positive = int((means > 0).sum())
        for key, value in (
            ("delta_nll", means.mean()),
            ("delta_nll_se", stats.sem(means)),
            ("wilcoxon_p", stats.wilcoxon(means).pvalue),
            ("sign_test_p", stats.binomtest(positive, len(means), 0.5).pvalue),
            ("p", test.pvalue),
        ):
            self.assertLess(abs(entry[key] - value), 1e-8 * abs(value) + 1e-14, key)
        width = interval.high - interval.low
        self.assertLess(abs(entry["delta_nll_ci95"][0] - interval.low), 1e-8 * width)
        self.assertLess(abs(entry["delta_nll_ci95"][1] - interval.high), 1e-8 * width)
        drawn = stats.bootstrap(
            (means,), np.mean, n_resamples=100_000, batch=10_000, method="percentile", rng=1
        ).confidence_interval
        self.assertLess(abs(entry["bootstrap_ci95"][0] - drawn.low), 0.03 * width)
        self.assertLess(abs(entry["bootstrap_ci95"][1] - drawn.high), 0.03 * width)
        pair = self.found["pairs"][0]
        self.assertEqual(pair["p_holm"], min(1, pair["p"] * len(self.found["pairs"])))

    def test_a_model_has_no_divergence_from_itself(self):
        found = self.ram.run(
            "compare", self.reference, self.reference, "--text", self.text, "--length", LENGTH,
            "--rows", 8,
        )
        entry = found["models"][0]
        self.assertEqual(0, entry["kl_max"])
        self.assertEqual(1, entry["same_top1"])
        self.assertEqual(0, entry["delta_nll"])
        self.assertGreater(found["noise_floor_kl"], 0)
