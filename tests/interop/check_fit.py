"""`ram fit` against the real mlx_lm: the arrays that it loads from OUT equal those that mlx itself makes."""

import dataclasses
import json

import mlx.core as mx
import support
from mlx.utils import tree_flatten
from mlx_lm.utils import compute_bits_per_weight, get_total_parameters

# mlx_lm keeps positions in one of several fields; they are compared separately.
POSITION_FIELDS = {"rope_scaling", "rope_parameters", "rope_theta"}


def positions(arguments):
    """rope_theta, and scaling without its aliases."""
    scaling = dict(arguments.get("rope_scaling") or {})
    kind = scaling.pop("type", None) or scaling.pop("rope_type", None)
    scaling.pop("rope_type", None)
    scaling.pop("rope_theta", None)
    return arguments["rope_theta"], None if kind in (None, "default") else (kind, scaling)


class Fit(support.InteropCase):
    def fit(self, source, budget, out):
        """Builds OUT; a budget below the smallest safe size is raised to the size that the refusal names."""
        command = ("fit", source.folder, "--effort", "fast", "--budget", budget, "-o", out)
        try:
            return self.ram.run(*command)
        except AssertionError:
            refused = self.ram.run(*command, expect=6)
            self.assertFalse(out.exists(), f"{out} was left behind by a refusal")
            least = refused["min_safe_bytes"]
            return self.ram.run("fit", source.folder, "--effort", "fast", "--budget", least, "-o", out)

    def check_bytes(self, out, plan):
        total = support.folder_bytes(out)
        self.assertEqual(total, plan["total_bytes"])
        self.assertLessEqual(total, plan["budget_bytes"])

    def check_index(self, out):
        index = json.loads((out / "model.safetensors.index.json").read_text())
        arrays = {}
        for file in sorted(out.glob("model*.safetensors")):
            for name, array in mx.load(str(file)).items():
                self.assertEqual(file.name, index["weight_map"][name])
                arrays[name] = array.nbytes
        self.assertEqual(sorted(arrays), list(index["weight_map"]))
        self.assertEqual(sum(arrays.values()), index["metadata"]["total_size"])
        return sum(arrays.values())

    def check_arguments(self, model, truth):
        found, wanted = (dataclasses.asdict(m.args) for m in (model, truth))
        self.assertEqual(positions(wanted), positions(found))
        for field in set(wanted) - POSITION_FIELDS:
            self.assertEqual(wanted[field], found[field], field)

    def check_folder(self, source, out):
        plan = json.loads((out / "plan.json").read_text())
        self.check_bytes(out, plan)
        tensor_bytes = self.check_index(out)
        model = support.load(out)
        formats = {u["name"]: support.parse_format(u["format"]) for u in plan["units"]}
        formats = {name: f for name, f in formats.items() if f is not None}
        self.assertEqual(formats, support.formats_of(model))
        truth = support.quantized_by_mlx(source.truth, source.dtype, formats)
        self.assert_same_parameters(model.parameters(), truth.parameters())
        self.check_arguments(model, truth)
        self.check_bits_per_weight(model, plan, tensor_bytes)
        vocabulary = model.args.vocab_size
        mine, theirs = support.logits(model, vocabulary), support.logits(truth, vocabulary)
        self.assertTrue(bool(mx.isfinite(mine).all()), "logits are not finite")
        self.assertTrue(support.same_bits(mine, theirs), "logits differ")
        return plan

    def check_bits_per_weight(self, model, plan, tensor_bytes):
        # mlx_lm also counts a module's private arrays (frequencies of scaled positions).
        own = sum(a.nbytes for _, a in tree_flatten(model.parameters()))
        self.assertEqual(tensor_bytes, own)
        bits = 8 * own / get_total_parameters(model)
        self.assertAlmostEqual(bits, plan["bits_per_weight"], places=9)
        printed = compute_bits_per_weight(model)
        self.assertLess(abs(printed - bits), 0.01)

    def check_source(self, source):
        totals = []
        for budget in ("30%", "45%", "75%"):
            with self.subTest(model=source.name, budget=budget):
                out = self.scratch / f"{source.name}-{budget}"
                self.fit(source, budget, out)
                plan = self.check_folder(source, out)
                totals.append((plan["total_bytes"], plan["objective"]))
        self.assertEqual(
            totals, sorted(totals, key=lambda t: (t[0], -t[1])), "more room, more loss"
        )

    def test_tiny_models_of_every_family_and_spelling_load_as_mlx_makes_them(self):
        for source in self.tiny_sources():
            self.check_source(source)

    def test_trained_models_load_as_mlx_makes_them(self):
        for source in support.real_sources():
            self.check_source(source)

    def test_the_smallest_safe_size_is_reached_and_one_byte_less_is_refused(self):
        for source in self.tiny_sources():
            with self.subTest(model=source.name):
                out = self.scratch / f"{source.name}-least"
                refused = self.ram.run("fit", source.folder, "--effort", "fast", "--budget", 1000, "-o", out, expect=6)
                least = refused["min_safe_bytes"]
                again = ("fit", source.folder, "--effort", "fast", "-o", out, "--budget")
                self.ram.run(*again, least - 1, expect=6)
                self.assertFalse(out.exists())
                self.ram.run(*again, least)
                self.check_folder(source, out)

    def tamper(self, name, how):
        """A correct folder with one thing changed: the check must fail."""
        source = next(s for s in self.tiny_sources() if s.name == "llama-hub")
        out = self.scratch / f"tampered-{name}"
        self.ram.run("fit", source.folder, "--effort", "fast", "--budget", "50%", "-o", out)
        self.check_folder(source, out)
        how(out)
        with self.assertRaises((AssertionError, ValueError, KeyError), msg=name):
            self.check_folder(source, out)

    def test_a_folder_with_one_thing_changed_is_noticed(self):
        def config(out, change):
            document = json.loads((out / "config.json").read_text())
            size = (out / "config.json").stat().st_size
            change(document)
            # The size is unchanged, so the number of bytes does not reveal it.
            text = json.dumps(document, separators=(",", ":"))
            (out / "config.json").write_text(text + " " * (size - len(text)))

        def flip(out):
            file = out / "model.safetensors"
            data = bytearray(file.read_bytes())
            data[-1000] ^= 1
            file.write_bytes(data)

        def forget(document):
            # mlx_lm then uses the common format, or infers it from the shapes.
            other = {"bits": 8, "group_size": 32, "mode": "affine"}
            formats = document["quantization"]
            name = next(k for k, v in formats.items() if isinstance(v, dict) and v["bits"] != 8)
            formats[name] = other

        self.tamper("bit", flip)
        self.tamper("file", lambda out: (out / "extra.txt").write_text("x"))
        self.tamper("format", lambda out: config(out, forget))
        self.tamper("theta", lambda out: config(out, lambda d: d.update(rope_theta=10000.0)))

    def test_the_number_of_threads_changes_no_byte(self):
        for name in ("qwen3_moe-hub", "llama-odd"):
            with self.subTest(model=name):
                folders = []
                for threads in (1, 2, 5):
                    out = self.scratch / f"{name}-{threads}-threads"
                    self.ram.run("fit", self.models / name, "--effort", "fast", "--budget", "60%", "-o", out,
                                 "--threads", threads)  # fmt: skip
                    folders.append({p.name: p.read_bytes() for p in out.iterdir()})
                self.assertEqual(folders[0], folders[1])
                self.assertEqual(folders[0], folders[2])
