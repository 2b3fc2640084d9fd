"""Measures the exported model: perplexity compared with a bigram model's, and its answers.

    python evaluate.py --model models/demo --work /tmp/demo-train
"""

import argparse
import json
import os
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")   # as in train.py

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional as F

from model import Shape, from_hub

ROW = 512
BUCKETS = ((1, 30), (31, 100), (101, 300), (301, 1000), (1001, 3000), (3001, 5500), (5501, 10 ** 9))


def load(folder):
    config = json.loads((folder / "config.json").read_text())
    shape = Shape(vocab=config["vocab_size"], hidden=config["hidden_size"],
                  layers=config["num_hidden_layers"], heads=config["num_attention_heads"],
                  kv_heads=config["num_key_value_heads"], head_dim=config["head_dim"],
                  experts=config["num_experts"], top_k=config["num_experts_per_tok"],
                  expert_width=config["moe_intermediate_size"], rope_theta=config["rope_theta"],
                  eps=config["rms_norm_eps"])
    return from_hub(load_file(folder / "model.safetensors"), shape)


def fake_quantize(model, bits, group=64):
    """Rounds every matrix except the router to `bits` bits with a scale and offset per group."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1 and not name.endswith("mlp.gate.weight"):
                w = p.reshape(-1, group)
                low, high = w.amin(1, keepdim=True), w.amax(1, keepdim=True)
                scale = (high - low).clamp_min(1e-8) / (2 ** bits - 1)
                p.copy_((((w - low) / scale).round() * scale + low).view_as(p))


@torch.no_grad()
def perplexity(model, tokens):
    """Over whole, non-overlapping rows of 512; each predicts its tokens except the first."""
    total, count = 0.0, 0
    for r in range(len(tokens) // ROW):
        row = torch.from_numpy(tokens[r * ROW:(r + 1) * ROW].astype(np.int64))[None]
        loss = F.cross_entropy(model(row)[0, :-1], row[0, 1:], reduction="sum")
        total += loss.item()
        count += ROW - 1
    return float(np.exp(total / count)), count


def bigram_perplexity(train, heldout, vocab):
    """The best of Witten-Bell and fixed interpolation with the unigrams: a fair baseline."""
    pairs = np.bincount(train[:-1].astype(np.int64) * vocab + train[1:],
                        minlength=vocab * vocab).reshape(vocab, vocab).astype(np.float64)
    single = np.bincount(train, minlength=vocab) + 0.1
    single = single / single.sum()
    totals = pairs.sum(1)
    kinds = (pairs > 0).sum(1)
    rows = heldout[:len(heldout) // ROW * ROW].reshape(-1, ROW).astype(np.int64)
    a, b = rows[:, :-1].ravel(), rows[:, 1:].ravel()
    best = (float("inf"), "")
    seen = pairs[a, b]
    for strength in (0.03, 0.1, 0.3, 1.0, 3.0):
        extra = strength * kinds[a] + 1e-9
        p = (seen + extra * single[b]) / (totals[a] + extra)
        best = min(best, (float(np.exp(-np.log(p).mean())), f"Witten-Bell x {strength}"))
    for share in (0.001, 0.003, 0.01, 0.03, 0.1):
        p = (1 - share) * seen / np.maximum(totals[a], 1) + share * single[b]
        best = min(best, (float(np.exp(-np.log(p).mean())), f"interpolation {share}"))
    for discount in (0.1, 0.3, 0.5, 0.75):
        # Absolute discounting: the discounted mass goes to the unigrams.
        back = discount * kinds[a] / np.maximum(totals[a], 1)
        p = np.maximum(seen - discount, 0) / np.maximum(totals[a], 1) + back * single[b]
        p = np.where(totals[a] > 0, p, single[b])
        best = min(best, (float(np.exp(-np.log(p).mean())), f"discount {discount}"))
    return best


@torch.no_grad()
def answers(model, tokenizer, rows):
    """For each question, whether the likeliest choice (sum of log-likelihoods) is right."""
    right = []
    for row in rows:
        start = [0] + tokenizer.encode(row["question"]).ids
        ends = [tokenizer.encode(choice).ids for choice in row["choices"]]
        # Attention is causal, so padding at the end changes nothing.
        longest = max(map(len, ends))
        logits = model(torch.tensor([start + e + [0] * (longest - len(e)) for e in ends]))
        chance = F.log_softmax(logits[:, len(start) - 1:], dim=-1)
        scores = [chance[i, range(len(e)), e].sum().item() for i, e in enumerate(ends)]
        right.append(int(np.argmax(scores)) == row["answer"])
    return right


@torch.no_grad()
def generate(model, tokenizer, prompt, length=40, seed=0):
    rng = torch.Generator().manual_seed(seed)
    ids = [0] + tokenizer.encode(prompt).ids
    for _ in range(length):
        chance = F.softmax(model(torch.tensor([ids]))[0, -1] / 0.7, dim=-1)
        ids.append(int(torch.multinomial(chance, 1, generator=rng)))
        if ids[-1] == 0:
            break
    return tokenizer.decode(ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/demo"))
    parser.add_argument("--work", type=Path, default=Path("/tmp/demo-train"),
                        help="where train.npy is, for the bigram model")
    parser.add_argument("--bits", type=int, default=0, help="round the weights to this many bits first")
    parser.add_argument("--group", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    model = load(args.model)
    if args.bits:
        fake_quantize(model, args.bits, args.group)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    heldout = np.array(tokenizer.encode((args.model / "heldout.txt").read_text("utf-8")).ids)
    value, count = perplexity(model, heldout)
    print(f"held-out perplexity {value:.4f} over {count} of {len(heldout)} tokens")
    if (args.work / "train.npy").exists() and not args.bits:
        rival, how = bigram_perplexity(np.load(args.work / "train.npy"), heldout, model.s.vocab)
        print(f"bigram perplexity {rival:.4f} ({how}); ratio {value / rival:.3f}")

    rows = [json.loads(line) for line in open(args.model / "questions.jsonl", encoding="utf-8")]
    right = answers(model, tokenizer, rows)
    groups = defaultdict(list)
    for row, ok in zip(rows, right):
        if "rank" in row:
            low, high = next(b for b in BUCKETS if b[0] <= row["rank"] <= b[1])
            groups["facts of any rank"].append(ok)
            groups[f"facts of rank {low:>4} to {high if high < 10 ** 9 else 'last'}"].append(ok)
        else:
            groups["arithmetic"].append(ok)
            groups[row["kind"]].append(ok)
    print(f"questions {sum(right)} of {len(right)} right, {sum(right) / len(right):.3f}")
    for name in sorted(groups):
        print(f"  {name}: {sum(groups[name])} of {len(groups[name])}, "
              f"{sum(groups[name]) / len(groups[name]):.3f}")
    for prompt in ("Once", "Question: What is 7 plus 5? Answer:", "The walls of"):
        print(repr(generate(model, tokenizer, prompt)))


if __name__ == "__main__":
    main()
