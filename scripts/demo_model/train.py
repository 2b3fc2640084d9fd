"""Trains the demo model on the tokens made by data.py.

The learning rate follows the share of --minutes that has been spent training,
summed over resumes: so the run ends in time even on a busy machine.  With
--steps it follows the steps instead, which can be repeated exactly.

    nice -n 19 python train.py --work /tmp/demo-train --minutes 75
"""

import argparse
import math
import os
import signal
import time
from pathlib import Path

# A waiting thread must not spin: on a busy machine it occupies the core of the thread that it waits for.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from torch.nn import functional as F

from model import Model

ROW = 512


class Rows:
    """Rows of 513 tokens (the last one is only predicted) in a new order each epoch."""

    def __init__(self, path, batch):
        self.tokens = np.load(path, mmap_mode="r")
        self.count = (len(self.tokens) - 1) // ROW
        self.batch = batch
        self.epoch, self.order = -1, None

    def at(self, step):
        per_epoch = self.count // self.batch
        epoch, index = divmod(step, per_epoch)
        if epoch != self.epoch:
            self.epoch, self.order = epoch, np.random.default_rng(epoch).permutation(self.count)
        rows = self.order[index * self.batch:(index + 1) * self.batch]
        data = np.stack([self.tokens[r * ROW:r * ROW + ROW + 1] for r in rows])
        return torch.from_numpy(data.astype(np.int64))


def rate(done, peak, warm=0.02, last=0.03):
    """Warm-up, then a cosine down to a small share of the peak."""
    if done < warm:
        return peak * max(done / warm, 0.01)
    fall = (min(done, 1.0) - warm) / (1.0 - warm)
    return peak * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * fall)))


@torch.no_grad()
def heldout_loss(model, tokens, rows):
    model.eval()
    total = 0.0
    for r in range(rows):
        row = torch.from_numpy(tokens[r * ROW:(r + 1) * ROW].astype(np.int64))[None]
        logits = model(row[:, :-1])
        total += F.cross_entropy(logits[0].float(), row[0, 1:]).item()
    model.train()
    return total / rows


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("/tmp/demo-train"))
    parser.add_argument("--minutes", type=float, default=75.0)
    parser.add_argument("--steps", type=int, default=0, help="a fixed number, not --minutes")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--peak", type=float, default=2e-3)
    parser.add_argument("--balance", type=float, default=0.02)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=float, default=240.0, help="seconds")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    model = Model()
    decayed = [p for n, p in model.named_parameters() if p.dim() > 1 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if not (p.dim() > 1 and "embed" not in n)]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05},
                                   {"params": others, "weight_decay": 0.0}],
                                  lr=args.peak, betas=(0.9, 0.97), eps=1e-9, fused=True)
    rows = Rows(args.work / "train.npy", args.batch)
    heldout = np.load(args.work / "heldout.npy")
    path = args.work / "checkpoint.pt"
    step, spent = 0, 0.0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, spent = saved["step"], saved["spent"]
        print(f"resumed at step {step} after {spent:.0f} s", flush=True)

    stop = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.append(1))

    def save():
        # Written to another file and renamed: a stop in the middle leaves the old one intact.
        aside = path.with_suffix(".new")
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                    "step": step, "spent": spent}, aside)
        os.replace(aside, path)

    model.train()
    losses, since, last_save = [], time.time(), time.time()
    while not stop:
        done = step / args.steps if args.steps else spent / (60 * args.minutes)
        if done >= 1:
            break
        began = time.time()
        for group in optimizer.param_groups:
            group["lr"] = rate(done, args.peak)
        data = rows.at(step)
        logits = model(data[:, :-1])
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), data[:, 1:].reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        (loss + args.balance * model.balance()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        step += 1
        spent += time.time() - began
        if step % 50 == 0:
            low = min(layer.mlp.load.min().item() for layer in model.layers)
            speed = len(losses) * args.batch * ROW / (time.time() - since)
            print(f"step {step} done {done:.3f} loss {sum(losses) / len(losses):.4f} "
                  f"least load {low:.3f} tokens/s {speed:.0f}", flush=True)
            losses, since = [], time.time()
        if time.time() - last_save > args.save_every:
            save()
            print(f"saved at step {step}, {spent:.0f} s, held-out loss "
                  f"{heldout_loss(model, heldout, 40):.4f}", flush=True)
            last_save = since = time.time()
            losses = []
    save()
    print(f"stopped at step {step}, {spent:.0f} s, {step * args.batch * ROW} tokens, held-out loss "
          f"{heldout_loss(model, heldout, len(heldout) // ROW):.4f}", flush=True)


if __name__ == "__main__":
    main()
