#!/usr/bin/env python3
"""Asks a model the questions of a task with lm-evaluation-harness 0.4.11 and with ram, and compares
prompts to the character, log-likelihoods, and choices.

    tasks_vs_lm_eval.py [--ram build/release/ram] [--model models/demo] [--data FOLDER]
        [--tasks mmlu,...] [--questions 20] [--batch 16] [--choice FILE]

Without --data only the bundled model's questions are asked.

The harness reads its own task files, which use the local data. Needs lm-eval==0.4.11, torch and
transformers. Exits 1 if anything differs.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOLERANCE = 1e-3
ROOT = Path(__file__).resolve().parent.parent.parent


def ram_tasks(options, task, data, work, *more):
    command = [options.ram, "tasks", options.model, "--task", task, "--data", str(data), "--json",
               "--quiet", "--study", str(work / f"{task}.db"), *more]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ram", default=str(ROOT / "build/release/ram"))
    parser.add_argument("--model", default=str(ROOT / "models/demo"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tasks", default="arc_challenge,winogrande,hellaswag,mmlu")
    parser.add_argument("--choice", type=Path, help="your own questions, asked too")
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    if importlib.util.find_spec("lm_eval") is None:
        print("skipped: lm-eval is not installed: pip install lm-eval==0.4.11 accelerate")
        return
    if options.data is None and options.choice is None:
        options.choice = ROOT / "models/demo/questions.jsonl"
    with tempfile.TemporaryDirectory() as work:
        if not compare(options, Path(work)):
            sys.exit(1)


def own_questions(path):
    """The prompts of `ram tasks --task choice`: choices unchanged, with a space before them if there is none."""
    found = {}
    for index, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        spaced = row["question"][-1:].isspace() or row["choices"][0][:1].isspace()
        found[index] = {"pairs": [(row["question"], ("" if spaced else " ") + choice)
                                  for choice in row["choices"]], "answer": row["answer"]}
    return found


def compare(options, work):
    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    import harness_tasks

    model = HFLM(pretrained=options.model, dtype="float32", device="cpu", batch_size=options.batch)
    torch.set_grad_enabled(False)
    fine = True
    named = options.tasks.split(",") if options.data else []
    tasks = [(name, options.data) for name in named if name]
    if options.choice:
        tasks.append(("choice", options.choice))
    for name, data in tasks:
        prompts = work / f"{name}.jsonl"
        start = time.monotonic()
        ours = ram_tasks(options, name, data, work, "--limit", str(options.questions),
                         "--prompts", str(prompts))
        ours_seconds = time.monotonic() - start
        lines = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
        if name == "choice":
            expected = own_questions(data)
        else:
            expected = harness_tasks.requests_of(name, data, work, {line["index"] for line in lines})
        requests = []
        differing = 0
        for line in lines:
            entry = expected[line["index"]]
            pairs = [(line["contexts"][c if len(line["contexts"]) > 1 else 0], continuation)
                     for c, continuation in enumerate(line["continuations"])]
            differing += pairs != entry["pairs"] or line["answer"] != entry["answer"]
            requests += [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(entry["pairs"])]
        start = time.monotonic()
        theirs = [value for value, _ in model.loglikelihood(requests, disable_tqdm=True)]
        seconds = time.monotonic() - start
        outcome = ours["models"][0]["tasks"][0]
        largest, other, at = 0.0, 0, 0
        for line, result in zip(lines, outcome["results"]):
            lls = theirs[at:at + len(line["continuations"])]
            at += len(lls)
            largest = max([largest] + [abs(a - b) for a, b in zip(lls, result["log_likelihoods"])])
            if outcome["metric"] == "acc_norm":
                lls = [x / len(c[1:]) for x, c in zip(lls, line["continuations"])]
            other += lls.index(max(lls)) != result["choice"]
        fine = fine and not differing and largest <= TOLERANCE and not other
        print(f"{name}: {len(lines)} questions, {differing} prompts differ, log-likelihoods within "
              f"{largest:.1e}, {other} other choices; accuracy {outcome['accuracy']:.3f}; tokens "
              f"{outcome['tokens']} of {outcome['naive_tokens']}; questions/s {len(lines) / seconds:.2f} "
              f"by lm-eval, {len(lines) / outcome['seconds']:.2f} by ram "
              f"({len(lines) / ours_seconds:.2f} with start); cut {outcome['cut_questions']}", flush=True)
    return fine


if __name__ == "__main__":
    main()
