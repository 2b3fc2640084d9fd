"""Builds folders of every method at equal bytes, compares them on a text, and prints the tables.

Four sizes from the smallest safe one of the published method to its largest plan below 8:64, or, with
--bpw, those at which the units that can be quantized have the given bits per weight. The published
method is built first; weights only, the default, measured coefficients with plain rounding and with searched
scales, and --effort best get exactly its folder's bytes; uniform formats are compared with them. Prints Markdown.

--others CALIBRATION compares ours with other methods in use, each at the bytes of its folder: mlx_lm's
mixed recipes, dynamic_quant, GPTQ, AWQ and DWQ, calibrated on that text, in the Python that runs this script.
Methods that do not run on a model are named.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from quality.store import ROOT, Results

UNIFORM = ("4:128", "4:64", "4:32", "5:64", "6:64", "8:64")

OURS = {
    "fast": ("--effort", "fast"),
    # With all of its steps: other work on the machine must not change what is measured.
    "default": ("--time", "2h"),
    "measured": ("--method", "measured"),
    "search": ("--method", "measured", "--encoder", "search"),
    "best": ("--effort", "best"),
}
# Tried before; measured only if named by --methods.
TRIED = {
    "random-start": ("--effort", "best", "--random-start"),
}
METHODS = OURS | TRIED


# Arguments of "python -m mlx_lm"; bits are the programs' defaults unless named, {group} is --others-group,
# and {length} is the length of a row.
OTHERS = {
    "mixed_3_4": "convert -q --quant-predicate mixed_3_4 --q-group-size {group}",
    "mixed_3_6": "convert -q --quant-predicate mixed_3_6 --q-group-size {group}",
    "mixed_4_6": "convert -q --quant-predicate mixed_4_6 --q-group-size {group}",
    "dynamic_quant": "dynamic_quant --target-bpw 5.0 --low-group-size {group} --high-group-size {group}",
    "GPTQ": "gptq --num-samples 128 --group-size {group} --fallback-group-size {group} --sequence-length {length}",
    "AWQ": "awq --num-samples 32 --group-size {group} --embed-group-size {group} --sequence-length 128",
    "DWQ": "dwq --num-samples 128 --batch-size 4 --group-size {group} --max-seq-length 129",
}
# dynamic_quant uses the whole text, and a gradient takes MLX minutes on some processors.
CALIBRATION_CHARACTERS = 40_000
LINES_OF_DWQ = 512  # its sequences are lines of a data set


class Runner:
    def __init__(self, program, folder):
        self.program, self.folder = program, Path(folder)
        self.limits = {}  # of folders planned with coefficients: the limit of independent errors, nats per token

    def run(self, *arguments, expect=(0,)):
        command = [self.program, *map(str, arguments), "--json", "--quiet"]
        command += ["--study", str(self.folder / "ram.db")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in expect:
            raise SystemExit(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}")
        return json.loads(done.stdout)

    def size_at(self, model, bits):
        """Bytes of a folder in which the units that can be quantized have `bits` bits per weight."""
        plan = self.folder / "any.json"
        self.run("plan", model, "--uniform", "8:32", "-o", plan)
        plan = json.loads(plan.read_text())
        units = [unit for unit in plan["units"] if unit["format"] == "8:32"]
        rest = plan["total_bytes"] - sum(unit["bytes"] for unit in units)
        return rest + int(bits * sum(unit["weights"] for unit in units) / 8)

    def fit(self, model, name, *options):
        out = self.folder / name
        shutil.rmtree(out, ignore_errors=True)
        fit = self.run("fit", model, *options, "-o", out)
        if fit["method"] == "measured" and fit.get("limit"):
            self.limits[name] = fit["limit"]
        return out


def prepare_calibration(folder, text):
    """mlx_lm reads one file below the home folder; DWQ reads a data set of JSON lines."""
    cache = folder / "home/.cache/mlx-lm"
    cache.mkdir(parents=True)
    content = Path(text).read_text(errors="replace")[:CALIBRATION_CHARACTERS]
    (cache / "calibration_v5.txt").write_text(content)
    words = content.split()
    data = folder / "data"
    data.mkdir()
    step = max(1, min(400, len(words) // LINES_OF_DWQ))
    lines = [" ".join(words[at : at + step]) for at in range(0, len(words), step)]
    for name, part in (("train", lines[64:]), ("valid", lines[:32]), ("test", lines[32:64])):
        (data / f"{name}.jsonl").write_text("".join(json.dumps({"text": s}) + "\n" for s in part))


def build_others(runner, model, options):
    """Folders of other programs, and for each of them ours at its bytes; smallest first."""
    prepare_calibration(runner.folder, options.others)
    # With a float32 source their scales would have 32 bits, while ours have 16.
    base = runner.folder / "bf16"
    convert = [sys.executable, "-m", "mlx_lm", "convert", "--dtype", "bfloat16"]
    convert += ["--hf-path", Path(model).resolve(), "--mlx-path", base.resolve()]
    subprocess.run(list(map(str, convert)), capture_output=True, check=True)
    environment = dict(os.environ, HOME=str(runner.folder / "home"))
    # Some of the programs leave files in the current folder.
    work = runner.folder / "work"
    work.mkdir()
    folders, beside = [], {}
    for name, line in OTHERS.items():
        command, *rest = line.format(group=options.others_group, length=options.length).split()
        out = runner.folder / name
        source = "--hf-path" if command == "convert" else "--model"
        call = [sys.executable, "-m", "mlx_lm", command, source, base.resolve()]
        call += ["--mlx-path", out.resolve(), *rest]
        if command == "dwq":
            call += ["--data-path", (runner.folder / "data").resolve()]
        call = list(map(str, call))
        try:
            subprocess.run(
                call, capture_output=True, text=True, env=environment, cwd=work, check=True, timeout=options.patience
            )
        except subprocess.TimeoutExpired:
            print(f"- {name} did not finish within {options.patience} s.")
            continue
        except subprocess.CalledProcessError as error:
            print(f"- {name} does not run on this model: {error.stderr.strip().splitlines()[-1]}")
            continue
        folders.append(out)
        beside[name] = {ours: f"{ours} at {name}" for ours in ("fast", "best")}
        for ours, folder in beside[name].items():
            folders.append(runner.fit(model, folder, "--budget", folder_bytes(out), *METHODS[ours]))
    return sorted(folders, key=folder_bytes), beside


def folder_bytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def build_all(runner, model, bits, methods):
    """Folders of all methods, smallest first; by the published method's name, those at its bytes."""
    beside = {}
    folders = [
        runner.fit(model, f"uniform {f.replace(':', '-')}", "--uniform", f) for f in UNIFORM
    ]
    refused = runner.run("plan", model, "--method", "published", "--budget", 1, "-o", "-", expect=(6,))
    least, most = refused["min_safe_bytes"], folder_bytes(folders[-1])
    sizes = [runner.size_at(model, float(b)) for b in bits.split(",") if b] or [
        least + (most - least) * step // 3 for step in range(4)
    ]
    for step, size in enumerate(sizes):
        lower = ("--min-bits", "2") if size < least else ()  # it has no formats below 4 bits
        published = runner.fit(model, f"ram {step + 1}", "--method", "published", "--budget", size, *lower)
        folders.append(published)
        budget = folder_bytes(published)
        beside[published.name] = {name: f"{name} {step + 1}" for name in methods}
        for name, folder in beside[published.name].items():
            folders.append(runner.fit(model, folder, "--budget", budget, *METHODS[name]))
    return sorted(folders, key=folder_bytes), beside


def table(result):
    lines = [
        "| folder | bytes | bits per weight | mean | median | KL | same top-1 | mean NLL, 95 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["models"]:
        low, high = row["delta_nll_ci95"]
        lines.append(
            f"| {row['name']} | {row['bytes']} | {row['bits_per_weight']:.3f} "
            f"| {row['mean_perplexity']:.3f} | {row['median_perplexity']:.3f} "
            f"| {row['kl_mean']:.5f} | {100 * row['same_top1']:.1f} % | {low:+.4f} to {high:+.4f} |"
        )
    return "\n".join(lines)


def ratios_of(result):
    """KL over another folder's, with the paired 95 % interval: {(name, other): (ratio, low, high)}."""
    ratios = {}
    for pair in result["pairs"]:
        if pair["kl_ratio"] is None:
            continue
        low, high = pair["kl_ratio_ci95"]
        ratios[pair["a"], pair["b"]] = (pair["kl_ratio"], low, high)
        ratios[pair["b"], pair["a"]] = (1 / pair["kl_ratio"], 1 / high, 1 / low)
    return ratios


def ratio_table(result, ours):
    """KL over another folder's at equal bytes.

    ours: by that other's name, the names of ours at its bytes by method.
    """
    rows = {row["name"]: row for row in result["models"]}
    ratios = ratios_of(result)
    methods = list(next(iter(ours.values())))
    lines = [
        f"| at the bytes of | bits per weight | its KL | {' | '.join(methods)} |",
        "|---|---|---|" + "---|" * len(methods),
    ]
    for other, names in ours.items():
        cells = []
        for name in names.values():
            ratio, low, high = ratios[name, other]
            cells.append(f"{ratio:.2f} ({low:.2f} to {high:.2f})")
        row = rows[other]
        lines.append(
            f"| {other} | {row['bits_per_weight']:.3f} | {row['kl_mean']:.5f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def commit():
    """The clone's commit, with a + if files differ from it; empty if git does not know it."""
    call = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


# Options that depend on this machine or on what is kept: not part of the recorded command.
UNRECORDED = {"--ram", "--folder", "--into", "--table", "--text-name", "--note", "--csv"}


def recorded_command(words):
    """The command that repeats a measurement on any machine."""
    kept, skip = [], False
    for word in words:
        name, _, value = word.partition("=")
        if skip:
            skip = False
        elif name in UNRECORDED:
            skip = not value
        else:
            kept.append(word)
    return "scripts/results measure " + shlex.join(kept)


def csv_rows(result, ours, options, words, limits):
    """The experiment, its folders and its ratios as rows of the CSV files (quality/store.py).

    limits: of folders planned with coefficients, by name.
    """
    recorded = {"date": datetime.now(timezone.utc).strftime("%Y-%m-%d"), "commit": commit()}
    name, number = options.into, "{:.6g}".format
    asked = [bits for bits in options.bpw.split(",") if bits]
    experiment = {
        "experiment": name,
        "table": options.table or ("others" if options.others else "own" if asked else "sizes"),
        "model": Path(options.model).name,
        "text": options.text_name or Path(options.text).name,
        "length": options.length,
        "rows": options.rows,
        "noise_floor_kl": number(result["noise_floor_kl"]),
        "inversions": str(len(result["inversions"])),
        "note": options.note,
        "command": recorded_command(words),
    }
    folders = [
        {
            "experiment": name,
            "folder": row["name"],
            "bytes": str(row["bytes"]),
            "bits_per_weight": number(row["bits_per_weight"]),
            "mean_perplexity": number(row["mean_perplexity"]),
            "median_perplexity": number(row["median_perplexity"]),
            "kl": number(row["kl_mean"]),
            "same_top1_percent": number(100 * row["same_top1"]),
            "nll_low": number(row["delta_nll_ci95"][0]),
            "nll_high": number(row["delta_nll_ci95"][1]),
            **recorded,
        }
        for row in result["models"]
    ]
    models = {row["name"]: row for row in result["models"]}
    pairs = ratios_of(result)
    ratios = []
    for step, (other, names) in enumerate(ours.items()):
        for method, folder in names.items():
            ratio, low, high = pairs[folder, other]
            ratios.append(
                {
                    "experiment": name,
                    "against": "published" if asked and not options.others else other,
                    "bits_asked": asked[step] if asked and not options.others else "",
                    "bits_per_weight": number(models[other]["bits_per_weight"]),
                    "against_kl": number(models[other]["kl_mean"]),
                    "method": method,
                    "kl": number(models[folder]["kl_mean"]),
                    "ratio": number(ratio),
                    "low": number(low),
                    "high": number(high),
                    "limit": number(limits[folder]) if folder in limits else "",
                    **recorded,
                }
            )
    return experiment, folders, ratios


def parse(words):
    parser = argparse.ArgumentParser(prog="scripts/results measure", description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--length", default="512")
    parser.add_argument("--rows", default="64")
    parser.add_argument("--bpw", default="", help="sizes, as 4.5,5,6")
    parser.add_argument("--methods", default=",".join(OURS), help="our methods; also: " + ", ".join(TRIED))
    parser.add_argument("--others", metavar="CALIBRATION", help="compare with other programs instead")
    parser.add_argument("--others-group", default="64", help="their group size (default 64)")
    parser.add_argument("--patience", type=int, default=3600, help="time limit for each of them, in seconds")
    parser.add_argument("--ram", default="build/release/ram")
    parser.add_argument("--folder", help="keep the folders and the study here")
    parser.add_argument("--into", metavar="NAME", help="put the rows into the CSV files as this experiment")
    parser.add_argument("--table", help="with --into: own, untuned, others or sizes; default: by the other options")
    parser.add_argument("--text-name", help="with --into: the page's name for the text; default: its file's name")
    parser.add_argument("--note", default="", help="with --into: additional information for readers")
    parser.add_argument("--csv", default=str(ROOT / "docs/results"), help="with --into: the folder of the CSV files")
    return parser.parse_args(words)


def main(words):
    options = parse(words)
    with tempfile.TemporaryDirectory() as scratch:
        runner = Runner(options.ram, options.folder or scratch)
        runner.folder.mkdir(parents=True, exist_ok=True)
        if options.others:
            folders, ours = build_others(runner, options.model, options)
        else:
            folders, ours = build_all(
                runner, options.model, options.bpw, options.methods.split(",")
            )
        rows = ["--length", options.length, "--rows", options.rows]
        result = runner.run("compare", options.model, *folders, "--text", options.text, *rows)
    inverted = len(result["inversions"])
    print(f"{ratio_table(result, ours)}\n\n{table(result)}\n")
    print(f"Noise floor: KL {result['noise_floor_kl']:.3g}. {inverted} inversions of mean and median.")
    if options.into:
        results = Results(options.csv)
        results.replace(*csv_rows(result, ours, options, words, runner.limits))
        results.write()
