"""`ram fit --uniform BITS:GROUP` against `mlx_lm.convert -q`: the same arrays, the same names."""

import json

import mlx.core as mx
import support
from mlx_lm import convert

FORMATS = ((2, 32), (3, 128), (4, 64), (5, 32), (6, 128), (8, 64))


def arrays_of(folder):
    out = {}
    for file in sorted(folder.glob("model*.safetensors")):
        out.update(mx.load(str(file)))
    return out


class Uniform(support.InteropCase):
    def check(self, source, bits, group_size):
        name = f"{source.name}-{bits}-{group_size}"
        theirs, mine = self.scratch / f"{name}-mlx", self.scratch / f"{name}-ram"
        if not theirs.exists():
            with support.silent():
                convert(str(source.truth), str(theirs), quantize=True, q_bits=bits,
                        q_group_size=group_size, dtype=source.dtype)  # fmt: skip
        self.ram.run("fit", source.folder, "--uniform", f"{bits}:{group_size}", "-o", mine)
        self.assert_same_parameters(arrays_of(mine), arrays_of(theirs))
        model = support.load(mine)
        self.assertEqual(support.formats_of(support.load(theirs)), support.formats_of(model))
        plan = json.loads((mine / "plan.json").read_text())
        self.assertEqual(support.folder_bytes(mine), plan["total_bytes"])

    def test_tiny_models_of_every_family_equal_convert_array_for_array(self):
        for number, source in enumerate(self.tiny_sources()):
            # Every family is tested with every width; the pairs are distributed to keep the run short.
            for bits, group_size in FORMATS[number % 2 :: 2]:
                with self.subTest(model=source.name, bits=bits, group_size=group_size):
                    self.check(source, bits, group_size)

    def test_trained_models_equal_convert_array_for_array(self):
        for source in support.real_sources():
            with self.subTest(model=source.name):
                self.check(source, 4, 64)

    def test_a_dtype_asked_for_is_the_dtype_of_convert(self):
        source = self.tiny_sources()[-1]
        for dtype in ("float16", "float32"):
            with self.subTest(dtype=dtype):
                theirs, mine = self.scratch / f"{dtype}-mlx", self.scratch / f"{dtype}-ram"
                with support.silent():
                    convert(str(source.truth), str(theirs), quantize=True, q_bits=4,
                            q_group_size=32, dtype=dtype)  # fmt: skip
                self.ram.run("fit", source.folder, "--uniform", "4:32", "-o", mine,
                             "--dtype", support.SHORT[dtype])  # fmt: skip
                self.assert_same_parameters(arrays_of(mine), arrays_of(theirs))
