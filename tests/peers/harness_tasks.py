"""The tasks of lm-evaluation-harness 0.4.11: its own task files, which read local JSON lines here.

Shared by tasks_vs_lm_eval.py and tests/vectors/tasks/make_vectors.py. Needs lm-eval==0.4.11.
"""

import json
import logging
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import lm_eval.tasks  # noqa: E402
from lm_eval.api.task import ConfigurableTask  # noqa: E402
from lm_eval.utils import load_yaml_config  # noqa: E402

logging.disable(logging.WARNING)

TASKS = Path(lm_eval.tasks.__file__).resolve().parent
SEED = 1234   # --fewshot_random_seed
EXAMPLES = {"arc_challenge": 25, "winogrande": 5, "hellaswag": 10, "mmlu": 5}
FILES = {
    "arc_challenge": "arc/arc_challenge.yaml",
    "winogrande": "winogrande/default.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
}
ASKED = {"arc_challenge": "test", "winogrande": "validation", "hellaswag": "validation", "mmlu": "test"}


def find(data, stem):
    for suffix in (".jsonl", ".jsonl.gz"):
        if (data / (stem + suffix)).exists():
            return str(data / (stem + suffix))
    return None


def local(config, files, asked):
    """A task file's configuration over local files: {"train": ..., "test": ...}."""
    config.update(dataset_path="json", dataset_name=None,
                  dataset_kwargs={"data_files": {k: v for k, v in files.items() if v}})
    if not files.get("train") and "training_split" in config:
        # There is no training split. If the asked split is the harness's test split, it must be
        # configured; if it is the validation split, the harness falls back on it.
        config["training_split"] = None
        if asked == "test":
            config["fewshot_split"] = "test"
    if asked == "test":
        config["validation_split"] = None
    return config


def plain_task(name, data):
    config = load_yaml_config(yaml_path=str(TASKS / FILES[name]), mode="full")
    asked = ASKED[name]
    files = {"train": find(data, f"{name}_train"), asked: find(data, f"{name}_{asked}")}
    return finish(local(config, files, asked), name)


def finish(config, name):
    config["num_fewshot"] = EXAMPLES[name]
    task = ConfigurableTask(config=config)
    task.set_fewshot_seed(SEED)
    return task


def mmlu_tasks(data, work, wanted=None):
    """One task per requested subject, and for each the indices of its questions in the file."""
    import gzip

    def lines(stem):
        path = find(data, stem)
        with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.strip()]

    subjects = {}
    for index, row in enumerate(lines("mmlu_test")):
        subjects.setdefault(row["subject"], []).append((index, row))
    examples = lines("mmlu_dev")
    for subject, rows in subjects.items():
        if wanted is not None:
            rows = [(index, row) for index, row in rows if index in wanted]
        if not rows:
            continue
        for split, content in (("test", [row for _, row in rows]),
                               ("dev", [row for row in examples if row["subject"] == subject])):
            with open(work / f"{subject}_{split}.jsonl", "w", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in content)
        config = load_yaml_config(yaml_path=str(TASKS / f"mmlu/default/mmlu_{subject}.yaml"),
                                  mode="full")
        files = {split: str(work / f"{subject}_{split}.jsonl") for split in ("test", "dev")}
        yield finish(local(config, files, "test"), "mmlu"), [index for index, _ in rows]


def tasks_of(name, data, work, wanted=None):
    """Pairs of a task and the indices of its documents in the asked file."""
    if name == "mmlu":
        return list(mmlu_tasks(data, work, wanted))
    task = plain_task(name, data)
    return [(task, list(range(len(task.eval_docs))))]


def requests_of(name, data, work, wanted=None):
    """index -> the (context, continuation) pairs of its choices, and the right one.

    wanted: indices; others may be omitted if that does not change the rest (MMLU)."""
    found = {}
    for task, indices in tasks_of(name, data, work, wanted):
        task.build_all_requests()
        for instance in task.instances:
            index = indices[instance.doc_id]
            doc = task.eval_docs[instance.doc_id]
            gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
            entry = found.setdefault(index, {"pairs": [], "answer": gold})
            entry["pairs"].append(tuple(instance.args))
    return found
