"""Shared by the interop checks: running ram, loading folders with mlx_lm, comparing the two."""

import contextlib
import dataclasses
import io
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import make_models
import numpy as np
from mlx.utils import tree_flatten, tree_map
from mlx_lm.utils import load_model
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parent.parent.parent
RAM = os.environ.get("RAM_PROGRAM", str(ROOT / "build/release/ram"))
DTYPES = {"bfloat16": mx.bfloat16, "float16": mx.float16, "float32": mx.float32}
SHORT = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}


@dataclasses.dataclass(frozen=True)
class Source:
    """A model folder, and the folder that says in the hub's spelling what it must compute."""

    name: str
    folder: Path
    truth: Path
    dtype: str  # that ram stores by default


class Ram:
    """Runs the program; one study for all calls of a test."""

    def __init__(self, folder: Path):
        self.study = folder / "study.db"

    def run(self, *arguments, expect=0, stdin=None):
        """The parsed JSON document of a command that must end with status `expect`."""
        command = [RAM, *map(str, arguments), "--json", "--study", str(self.study)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, input=stdin)
        if done.returncode != expect:
            raise AssertionError(
                f"{' '.join(command)}: status {done.returncode}, not {expect}\n{done.stderr}"
            )
        return json.loads(done.stdout) if done.stdout.strip() else {}


# Length of the sequences for logits: longer than the windows of the tiny models.
SEQUENCES, LENGTH = 2, 40
# The most that logits may differ: float32 sums in another order, logits that spread by 1 to 2.
LOGIT_TOLERANCE = 1e-4


def text_ids(vocabulary):
    """Fixed sequences of ids, of one length."""
    random = np.random.default_rng(20240611)
    return random.integers(0, vocabulary, (SEQUENCES, LENGTH)).tolist()


class InteropCase(unittest.TestCase):
    """A test with a scratch folder, the tiny models (written once) and its own study."""

    models_folder = None

    @classmethod
    def setUpClass(cls):
        cls.scratch_ = tempfile.TemporaryDirectory(prefix="ram-interop-")
        cls.scratch = Path(cls.scratch_.name)
        cls.ram = Ram(cls.scratch)
        cls.differences = {}  # of logits: family -> (models, largest difference, least spread)
        if InteropCase.models_folder is None:
            keep = tempfile.TemporaryDirectory(prefix="ram-models-")
            InteropCase.models_folder = keep
            make_models.write_all(Path(keep.name) / "models")
        cls.models = Path(InteropCase.models_folder.name) / "models"

    @classmethod
    def tearDownClass(cls):
        cls.scratch_.cleanup()
        for family, (count, largest, spread) in sorted(cls.differences.items()):
            print(
                f"{cls.__module__}: {family:10} {count:3} models, logits within {largest:.1e}, "
                f"their standard deviation {spread:.2f} or more"
            )

    def tiny_sources(self):
        hubs = {m.twin: m.name for m in make_models.MODELS if m.spelling == make_models.HUB}
        return [
            Source(
                name=m.name,
                folder=self.models / m.name,
                truth=self.models / hubs[m.twin],
                dtype="bfloat16" if m.dtype == "float32" else m.dtype,
            )
            for m in make_models.MODELS
        ]

    def ram_logits(self, folder, *options, ids=None):
        """The logits of `ram logits` for text_ids: [sequences, length, vocabulary] float32."""
        file, out = self.scratch / "ids.json", self.scratch / "logits.safetensors"
        file.write_text(json.dumps(ids or text_ids(make_models.VOCABULARY)))
        self.ram.run("logits", folder, "--ids", file, "-o", out, *options)
        arrays = load_file(out)
        self.assertEqual(["logits"], list(arrays))
        self.assertEqual(np.float32, arrays["logits"].dtype)
        return arrays["logits"]

    def assert_same_logits(self, family, mine, theirs):
        """Within LOGIT_TOLERANCE. The largest difference of each family is printed at the end, with
        its scale: the least standard deviation of a model's logits."""
        self.assertEqual(theirs.shape, mine.shape)
        difference = float(np.abs(mine - theirs).max())
        spread = float(theirs.std())
        count, largest, least = self.differences.get(family, (0, 0.0, spread))
        self.differences[family] = (count + 1, max(largest, difference), min(least, spread))
        self.assertGreater(spread, 0.3)  # otherwise the tolerance means nothing
        self.assertLessEqual(difference, LOGIT_TOLERANCE)

    def assert_same_parameters(self, found, wanted):
        """Names, dtypes, shapes and every bit."""
        found, wanted = dict(tree_flatten(found)), dict(tree_flatten(wanted))
        self.assertEqual(sorted(wanted), sorted(found))
        for name, array in wanted.items():
            other = found[name]
            self.assertEqual((array.dtype, array.shape), (other.dtype, other.shape), name)
            self.assertTrue(same_bits(array, other), f"{name} differs")


def real_sources():
    """The bundled model, and trained ones beside the clone if they exist."""
    beside = sorted((ROOT.parent / "shared/data/models").glob("*"))
    folders = [ROOT / "models/demo", *(path for path in beside if path.is_dir())]
    out = []
    for folder in folders:
        if (folder / "config.json").exists():
            config = json.loads((folder / "config.json").read_text())
            dtype = config.get("torch_dtype") or config.get("dtype")
            dtype = dtype if dtype in ("bfloat16", "float16") else "bfloat16"
            out.append(Source(folder.name, folder, folder, dtype))
        else:
            print(f"skipped: interop: {folder} has no config.json")
    return out


def same_bits(a, b):
    views = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32}
    view = views[a.dtype.size]
    return bool(mx.array_equal(a.view(view), b.view(view)))


def load(folder: Path):
    """The model as mlx_lm loads it, with every tensor used."""
    model, _ = load_model(folder, strict=True)
    return model


def cast(model, dtype):
    """All floating parameters in one dtype, as mlx_lm.convert casts them."""

    def one(array):
        return array.astype(dtype) if mx.issubdtype(array.dtype, mx.floating) else array

    model.update(tree_map(one, model.parameters()))
    mx.eval(model.parameters())
    return model


def formats_of(model):
    """Module path -> (bits, group size) of the quantized modules."""
    leaves = tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module)
    return {path: (m.bits, m.group_size) for path, m in leaves if hasattr(m, "bits")}


def quantized_by_mlx(folder: Path, dtype: str, formats):
    """The source, cast and quantized by mlx itself in the given formats."""
    model = cast(load(folder), DTYPES[dtype])

    def predicate(path, module):
        if path not in formats:
            return False
        bits, group_size = formats[path]
        return {"bits": bits, "group_size": group_size}

    nn.quantize(model, class_predicate=predicate)
    mx.eval(model.parameters())
    return model


def prompt(vocabulary):
    """A fixed sequence of ids, as a batch of one."""
    return [[(7 * i * i + 3 * i + 1) % vocabulary for i in range(24)]]


def logits(model, vocabulary):
    """Logits of the prompt, in float32 throughout: mlx's CPU adds in the activations' type."""
    out = cast(model, mx.float32)(mx.array(prompt(vocabulary)))
    mx.eval(out)
    return out


def folder_bytes(folder: Path):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def parse_format(text):
    """ "4:64" -> (4, 64); an unquantized unit's -> None."""
    if ":" not in text:
        return None
    bits, group_size = text.split(":")
    return int(bits), int(group_size)


@contextlib.contextmanager
def silent():
    with contextlib.redirect_stdout(io.StringIO()):
        yield
