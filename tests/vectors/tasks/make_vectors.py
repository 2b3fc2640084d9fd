#!/usr/bin/env python3
"""Writes the files beside this one: small invented data with the fields of each task's data set, the prompts
that lm-evaluation-harness makes from it, and the draws of Python's random.

    make_vectors.py        with lm-eval==0.4.11, torch 2, transformers 5 and Python 3.11

src/tasks/*_test.cpp compare src/tasks with them.
"""

import hashlib
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "peers"))

WORDS = ("river stone lamp orchard café naïve Ωmega über ten copper  double [note] wind "
         "ßtrand ladder moss \u00a0pad kettle eleven Straße 東京 quick lantern").split(" ")


def words(rng, low, high):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))


def arc(rng, count):
    for i in range(count):
        labels = ["A", "B", "C", "D", "E"][:rng.randint(3, 5)] if i % 4 else ["1", "2", "3", "4"]
        yield {"id": f"q_{i}", "question": words(rng, 3, 9) + (" " if i % 3 == 0 else "?"),
               "choices": {"text": [words(rng, 1, 4) for _ in labels], "label": labels},
               "answerKey": rng.choice(labels)}


def winogrande(rng, count):
    for i in range(count):
        tail = ["", ".", " was late.", " it _ twice . "][i % 4] if i % 5 == 0 else f" {words(rng, 2, 5)}. "
        tail = tail or "."
        yield {"sentence": f"{words(rng, 2, 6)} _{tail}", "option1": words(rng, 1, 2),
               "option2": words(rng, 1, 2), "answer": rng.choice("12")}


def hellaswag(rng, count):
    for i in range(count):
        yield {"ind": 10 + i, "activity_label": words(rng, 1, 2),
               "ctx_a": f"{words(rng, 3, 8)} [title] {words(rng, 1, 3)} [step] {words(rng, 1, 3)}  .",
               "ctx_b": ["", "hE went Ömög", "the Man", "éCOLE ça"][i % 4],
               "endings": [f" {words(rng, 2, 6)} [substeps] {words(rng, 1, 3)} [open" for _ in range(4)],
               "label": str(rng.randint(0, 3))}


def mmlu(rng, count):
    for i in range(count):
        yield {"question": words(rng, 3, 9) + ["", " ", "\n"][i % 3],
               "subject": ["high_school_physics", "anatomy"][i * 2 // count],
               "choices": [words(rng, 1, 3) for _ in range(4)], "answer": rng.randint(0, 3)}


FILES = [("arc_challenge_test", arc, 9), ("arc_challenge_train", arc, 40),
         ("winogrande_validation", winogrande, 26), ("hellaswag_validation", hellaswag, 24),
         ("hellaswag_train", hellaswag, 13), ("mmlu_test", mmlu, 8), ("mmlu_dev", mmlu, 12)]


def digest(text):
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def prompts(folder, names):
    import harness_tasks

    found = {}
    for name in names:
        with tempfile.TemporaryDirectory() as work:
            requests = harness_tasks.requests_of(name, folder, Path(work))
        found[name] = [{
            "answer": requests[index]["answer"],
            "contexts": [digest(context) for context, _ in requests[index]["pairs"]],
            "continuations": [continuation for _, continuation in requests[index]["pairs"]],
            # For reading, and to find where texts differ.
            **({"context": requests[index]["pairs"][0][0]} if index == 0 else {}),
        } for index in sorted(requests)]
    return found


def draws():
    for seed in (1234, 0, 7, 4294967295):
        generator = random.Random(seed)
        yield {"seed": seed, "samples": [
            {"population": population, "count": count,
             "drawn": generator.sample(range(population), count)}
            for population, count in [(1119, 25), (1, 1), (26, 26), (10042, 11), (1267, 6), (21, 5),
                                      (22, 5), (277, 25), (278, 25), (3, 0), (100000, 5), (85, 6), (86, 7)]
        ]}


def log_likelihoods():
    """The demo model's answers to the first questions of each task and of its own, by the harness."""
    import harness_tasks
    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    demo = HERE.parents[2] / "models" / "demo"
    torch.set_grad_enabled(False)
    model = HFLM(pretrained=str(demo), dtype="float32", device="cpu", batch_size=8)
    found = {}
    for name in ["arc_challenge", "winogrande", "hellaswag", "mmlu", "choice"]:
        if name == "choice":
            rows = [json.loads(line) for line in (demo / "questions.jsonl").open(encoding="utf-8")]
            questions = [[(row["question"], choice) for choice in row["choices"]] for row in rows[:12]]
        else:
            with tempfile.TemporaryDirectory() as work:
                requests = harness_tasks.requests_of(name, HERE, Path(work))
            questions = [requests[index]["pairs"] for index in sorted(requests)[:3]]
        values = iter(model.loglikelihood([Instance("loglikelihood", {}, pair, i)
                                           for pairs in questions for i, pair in enumerate(pairs)]))
        found[name] = [[next(values)[0] for _ in pairs] for pairs in questions]
    return found


def main():
    rng = random.Random(20261124)
    for stem, make, count in FILES:
        with open(HERE / f"{stem}.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in make(rng, count))
    with_training = prompts(HERE, ["arc_challenge", "winogrande", "hellaswag", "mmlu"])
    with tempfile.TemporaryDirectory() as folder:
        # Without the training splits: other questions are the examples.
        arc_rows = (HERE / "arc_challenge_train.jsonl").read_text(encoding="utf-8")
        Path(folder, "arc_challenge_test.jsonl").write_text(arc_rows, encoding="utf-8")
        shutil.copy(HERE / "hellaswag_validation.jsonl", folder)
        without = prompts(Path(folder), ["arc_challenge", "hellaswag"])
    (HERE / "prompts.json").write_text(
        json.dumps({"with training split": with_training, "without": without}, indent=1,
                   ensure_ascii=False) + "\n", encoding="utf-8")
    (HERE / "log_likelihoods.json").write_text(json.dumps(log_likelihoods(), indent=1) + "\n")
    (HERE / "random.json").write_text(json.dumps(list(draws())) + "\n")


if __name__ == "__main__":
    main()
