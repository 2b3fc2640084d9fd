#!/usr/bin/env python3
"""Bad input of every kind: one clear line, the right status, nothing left behind, within seconds."""

import json
import os
import pathlib
import shutil
import stat
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

CORRUPT, MISSING, UNSUPPORTED, USAGE, WRITE_FAILED = 4, 3, 5, 2, 7
# Seconds, also on a busy machine with sanitizers.
SOON = 30
WEIGHT = "model.layers.0.mlp.down_proj.weight"


class BadInput(harness.ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = harness.write_model(self.folder / "model")
        self.weights = self.model / "model.safetensors"

    def expect(self, status, *parts, options=()):
        """fit refuses, leaves the model unchanged, and creates no OUT and no file beside it."""
        before = harness.files_of(self.model)
        ran = self.ram("fit", "model", "--effort", "fast", "--budget", "90%", "-o", "out", "--quiet", *options)
        self.assert_refused(ran, status, *parts)
        self.assertLess(ran.seconds, SOON)
        self.assertEqual(harness.files_of(self.model), before)
        left = {p.name for p in self.folder.iterdir()}
        self.assertLessEqual(left, {"model", "ram.db", "ram.db-wal", "ram.db-shm"})

    def rewrite_header(self, change):
        """Replaces the header by the result of change(header as dict): a dict, or raw bytes."""
        data = self.weights.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        header = change(json.loads(data[8:8 + size]))
        self.weights.write_bytes(harness.header_bytes(header) + data[8 + size:])

    def expect_header(self, change, status=CORRUPT, *parts):
        self.rewrite_header(change)
        self.expect(status, "model.safetensors", *parts)

    def change_entry(self, **changes):
        def change(header):
            header[WEIGHT].update(changes)
            return header
        return change

    # Headers.

    def test_an_empty_file(self):
        self.weights.write_bytes(b"")
        self.expect(CORRUPT, "model.safetensors")

    def test_files_truncated_at_many_places(self):
        data = self.weights.read_bytes()
        for length in (1, 7, 8, 9, 100, 1000, len(data) // 2, len(data) - 1):
            self.weights.write_bytes(data[:length])
            self.expect(CORRUPT, "model.safetensors")

    def test_more_bytes_than_the_header_describes(self):
        self.weights.write_bytes(self.weights.read_bytes() + b"more")
        self.expect(CORRUPT, "model.safetensors")

    def test_wrong_header_lengths(self):
        data = self.weights.read_bytes()
        for length in (0, 1, len(data), 2**31, 2**63 - 1, 2**63, 2**64 - 1):
            self.weights.write_bytes(struct.pack("<Q", length) + data[8:])
            self.expect(CORRUPT, "model.safetensors")

    def test_headers_that_are_not_json_objects(self):
        for text in (b"", b"null", b"[]", b"{", b"{\"a\": }", b"\xff\xfe", b"{} {}", b"{\"a\": 1}"):
            self.rewrite_header(lambda _, text=text: text)
            self.expect(CORRUPT, "model.safetensors")
            self.weights.unlink()
            harness.write_safetensors(self.weights, harness.tiny_tensors())

    def test_deeply_nested_headers(self):
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            for depth in (100, 100000):
                text = b'{"a": ' + opening * depth + b"1" + closing * depth + b"}"
                self.rewrite_header(lambda _, text=text: text)
                self.expect(CORRUPT, "model.safetensors")
                self.weights.unlink()
                harness.write_safetensors(self.weights, harness.tiny_tensors())

    def test_a_name_that_appears_twice(self):
        def twice(header):
            entry = json.dumps(header[WEIGHT]).encode()
            text = json.dumps(header).encode()
            return text[:-1] + b', "' + WEIGHT.encode() + b'": ' + entry + b"}"
        self.expect_header(twice)

    def test_impossible_offsets(self):
        data = self.weights.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        begin, end = json.loads(data[8:8 + size])[WEIGHT]["data_offsets"]
        for offsets in ([-end, end], [end, begin], [begin - 2, end], [begin, end + 2],
                        [begin + 2**40, end + 2**40], [0, 2**63 - 1], [0, 2**64], [begin],
                        [begin, end, end], ["0", "2"], [0.5, 2], None):
            with self.subTest(offsets=offsets):
                self.weights.write_bytes(data)
                self.expect_header(self.change_entry(data_offsets=offsets))

    def test_impossible_shapes(self):
        data = self.weights.read_bytes()
        for shape in ([2**32, 2**32], [2**63 - 1, 2], [2**64, 1], [-64, -128], [64, 129], [64.5, 2],
                      [0, 128], "64", [1] * 1000):
            with self.subTest(shape=shape if len(shape) < 9 else "1000 axes"):
                self.weights.write_bytes(data)
                self.expect_header(self.change_entry(shape=shape))

    def test_a_shape_that_the_config_does_not_call_for(self):
        self.rewrite_header(self.change_entry(shape=[128, 64]))
        self.expect(CORRUPT, WEIGHT)

    def test_an_unknown_dtype_and_one_not_for_weights(self):
        self.expect_header(self.change_entry(dtype="BF17"), UNSUPPORTED, "BF17")
        self.rewrite_header(self.change_entry(dtype="I16"))
        self.expect(UNSUPPORTED, WEIGHT, "I16")

    # Tensors and shards.

    def test_a_missing_tensor(self):
        tensors = harness.tiny_tensors()
        del tensors[WEIGHT]
        harness.write_safetensors(self.weights, tensors)
        self.expect(MISSING, WEIGHT)

    def test_a_missing_shard(self):
        tensors = harness.tiny_tensors()
        names = list(tensors)
        halves = {"model-00001-of-00002.safetensors": names[:8],
                  "model-00002-of-00002.safetensors": names[8:]}
        for file, part in halves.items():
            harness.write_safetensors(self.model / file, {n: tensors[n] for n in part})
        weight_map = {n: file for file, part in halves.items() for n in part}
        (self.model / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": weight_map}))
        self.weights.unlink()
        self.assertEqual(self.ram("inspect", "model").status, 0)
        (self.model / "model-00002-of-00002.safetensors").unlink()
        self.expect(MISSING, "model-00002-of-00002.safetensors")

    def test_no_weights_at_all(self):
        self.weights.unlink()
        self.expect(MISSING)

    def test_weights_that_are_not_finite_are_named_with_their_place(self):
        for bits in (0x7FC0, 0xFF80):  # NaN, minus infinity
            tensors = harness.tiny_tensors()
            dtype, shape, data = tensors[WEIGHT]
            changed = bytearray(data)
            changed[2 * 4321:2 * 4322] = struct.pack("<H", bits)
            tensors[WEIGHT] = (dtype, shape, bytes(changed))
            harness.write_safetensors(self.weights, tensors)
            self.expect(CORRUPT, WEIGHT)

    def test_a_weight_that_becomes_infinite_in_the_dtype_asked_for(self):
        tensors = harness.tiny_tensors()
        dtype, shape, data = tensors[WEIGHT]
        tensors[WEIGHT] = (dtype, shape, struct.pack("<H", harness.bf16(1e30)) + data[2:])
        harness.write_safetensors(self.weights, tensors)
        self.expect(CORRUPT, WEIGHT, options=("--dtype", "f16"))

    def test_a_model_that_does_not_exist(self):
        self.assert_refused(self.ram("inspect", "no/such-model"), MISSING, "no/such-model")
        self.assert_refused(self.ram("inspect", "./nothing"), MISSING)
        self.assert_refused(self.ram("inspect", self.weights), MISSING)

    # config.json.

    def change_config(self, **changes):
        config = harness.tiny_config() | changes
        (self.model / "config.json").write_text(json.dumps(config))

    def test_config_missing_or_not_json(self):
        for text in ("", "not json", "[1]", "{\"model_type\": ", "[" * 100000, "{}"):
            (self.model / "config.json").write_text(text)
            self.expect(CORRUPT, "config.json")
        (self.model / "config.json").unlink()
        self.expect(MISSING, "config.json")

    def test_config_of_an_unknown_family(self):
        self.change_config(model_type="nonesuch")
        self.expect(UNSUPPORTED, "nonesuch")

    def test_config_with_absurd_numbers(self):
        for key in ("hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size",
                    "num_attention_heads"):
            for value in (0, -1, 10**12, 2**63, 1.5, "64", None, [64]):
                with self.subTest(key=key, value=value):
                    self.change_config(**{key: value})
                    before = harness.files_of(self.folder)
                    ran = self.ram("inspect", "model")
                    self.assertIn(ran.status, (MISSING, CORRUPT, UNSUPPORTED), ran)
                    self.assert_refused(ran, ran.status)
                    self.assertLess(ran.seconds, SOON)
                    self.assertEqual(harness.files_of(self.folder), before)

    def test_a_source_that_is_quantized_already(self):
        self.change_config(quantization={"group_size": 64, "bits": 4})
        self.expect(UNSUPPORTED, "quantized")
        self.change_config(quantization_config={"quant_method": "gptq", "bits": 4})
        self.expect(UNSUPPORTED, "quantized")

    def test_rows_that_no_group_divides_are_kept_with_a_note(self):
        shutil.rmtree(self.model)
        harness.write_model(self.model, intermediate=136)
        ran = self.ram("fit", "model", "--effort", "fast", "--budget", "90%", "-o", "out", "--json")
        self.assertEqual(ran.status, 0, ran)
        self.assertIn("ram: note: ", ran.err)
        formats = {unit["name"]: unit["format"] for unit in ran.json["units"]}
        self.assertEqual(formats["model.layers.0.mlp.down_proj"], "bf16")
        self.assertNotEqual(formats["model.layers.0.mlp.up_proj"], "bf16")

    # Plans, places and sizes.

    def make_plan(self):
        ran = self.ram("plan", "model", "--budget", "80%", "-o", "plan.json", "--quiet")
        self.assertEqual(ran.status, 0, ran)
        return self.folder / "plan.json"

    def quantize(self, model="model"):
        ran = self.ram("quantize", model, "--plan", "plan.json", "-o", "out", "--quiet")
        self.assertFalse((self.folder / "out").exists())
        self.assertLess(ran.seconds, SOON)
        return ran

    def test_ambiguous_sizes(self):
        for size in ("19G", "19M", "1.5", "-1", "1e9", "0", "0%", "120%", "GB", "9999999999999GB"):
            ran = self.ram("fit", "model", "--effort", "fast", "--budget", size, "-o", "out")
            self.assert_refused(ran, USAGE, size)

    def test_a_plan_for_another_model(self):
        self.make_plan()
        harness.write_model(self.folder / "other", seed=2)
        self.assert_refused(self.quantize("other"), USAGE, "model")
        harness.write_model(self.folder / "moe", experts=2)
        self.assert_refused(self.quantize("moe"), USAGE, "model")

    def test_files_that_are_not_plans(self):
        file = self.make_plan()
        good = json.loads(file.read_text())
        for text in ("", "{", "[]", "null", "[" * 100000, "{}", '{"ram_plan": "x"}'):
            file.write_text(text)
            self.assert_refused(self.quantize(), CORRUPT, "plan.json")
        file.write_text(json.dumps(good | {"ram_plan": 99}))
        self.assert_refused(self.quantize(), UNSUPPORTED, "plan.json")
        file.unlink()
        self.assert_refused(self.quantize(), MISSING, "plan.json")

    def test_plans_edited_to_be_impossible(self):
        file = self.make_plan()
        good = file.read_text()

        def edited(change):
            plan = json.loads(good)
            units = {unit["name"]: unit for unit in plan["units"]}
            change(plan, units)
            file.write_text(json.dumps(plan))
            return self.quantize()
        name = "model.layers.0.mlp.down_proj"
        self.assert_refused(edited(lambda p, u: u[name].update(format="4:48")), USAGE, "4:48", name)
        self.assert_refused(edited(lambda p, u: u["model.norm"].update(format="4:64")), USAGE,
                            "model.norm")
        self.assert_refused(edited(lambda p, u: p["units"].pop()), USAGE)
        self.assert_refused(edited(lambda p, u: u[name].update(name="no.such")), USAGE, name)

        def all_plain(plan, units):
            for unit in units.values():
                unit["format"] = "bf16"
        self.assert_refused(edited(all_plain), USAGE, "budget")

    def test_pins_that_match_nothing_or_cannot_be_stored(self):
        self.expect(USAGE, "nothing.like.it", options=("--pin", "nothing.like.it=4:64"))
        self.expect(USAGE, "model.norm", options=("--pin", "model.norm=4:64"))

    def test_an_output_inside_the_source_or_around_it(self):
        for out in ("model/out", "model", ".", "./model/../model/out"):
            before = harness.files_of(self.model)
            ran = self.ram("fit", "model", "--effort", "fast", "--budget", "90%", "-o", out, "--force")
            self.assert_refused(ran, USAGE)
            self.assertEqual(harness.files_of(self.model), before)

    def test_an_output_that_is_something_else_is_not_touched(self):
        (self.folder / "out").mkdir()
        (self.folder / "out" / "letters.txt").write_text("dear")
        self.assert_refused(self.ram("fit", "model", "--effort", "fast", "--budget", "90%", "-o", "out"), USAGE, "out")
        forced = self.ram("fit", "model", "--effort", "fast", "--budget", "90%", "-o", "out", "--force")
        self.assert_refused(forced, USAGE, "out")
        self.assertEqual(harness.files_of(self.folder / "out"), {"letters.txt": b"dear"})
        (self.folder / "file").write_text("x")
        self.assert_refused(self.ram("fit", "model", "--effort", "fast", "--budget", "90%", "-o", "file"), USAGE)

    def test_a_file_that_is_not_a_study(self):
        (self.folder / "ram.db").write_text("this is not a database, and long enough to be read\n" * 99)
        before = harness.files_of(self.folder)
        self.assert_refused(self.ram("fit", "model", "--effort", "fast", "--budget", "90%", "-o", "out"), CORRUPT, "ram.db")
        self.assertEqual(harness.files_of(self.folder), before)

    def test_outputs_in_folders_that_do_not_exist(self):
        for command in (("plan", "model", "--budget", "90%", "-o", "no/plan.json"),
                        ("analyze", "model", "--csv", "no/curves.csv"),
                        ("analyze", "model", "--study", "no/ram.db")):
            self.assert_refused(self.ram(*command), WRITE_FAILED, "no")

    def test_a_standard_output_that_is_full(self):
        node = self.folder / "full"  # Linux's device 1:7 is always full; the system's node is never touched
        try:
            os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
            full = open(node, "wb")
        except OSError:
            self.skipTest("skipped: no device can be made here")
        with full:
            ran = self.ram("plan", "model", "--budget", "90%", "-o", "-", "--quiet", stdout=full)
        self.assert_refused(ran, WRITE_FAILED)

    def test_a_reader_that_goes_away_is_not_a_failure(self):
        reading, writing = os.pipe()
        os.close(reading)
        try:
            ran = self.ram("plan", "model", "--budget", "90%", "-o", "-", "--quiet", stdout=writing)
        finally:
            os.close(writing)
        self.assertEqual((ran.status, ran.err), (0, ""), ran)

    # Places that refuse. These need another user, or a separate mount.

    def test_a_place_that_may_not_be_written(self):
        if os.geteuid() == 0:
            user = {"user": 65534, "group": 65534}
            if subprocess.run([harness.PROGRAM, "--version"], capture_output=True, check=False,
                              **user).returncode != 0:
                self.skipTest("the program is in a folder that other users cannot enter")
        else:
            user = {}
        self.folder.chmod(0o755)
        self.addCleanup(self.folder.chmod, 0o755)
        closed = self.folder / "closed"
        closed.mkdir()
        closed.chmod(0o555)
        open_folder = self.folder / "open"
        open_folder.mkdir()
        open_folder.chmod(0o777)
        study = open_folder / "s.db"
        out = closed / "out"
        ran = self.ram("fit", "model", "--effort", "fast", "--budget", "90%", "-o", out, "--study", study, **user)
        self.assert_refused(ran, WRITE_FAILED, "out")
        self.assertEqual(list(closed.iterdir()), [])
        self.assertFalse(study.exists(), "refused only after the long work")
        ran = self.ram("fit", "model", "--effort", "fast", "--budget", "90%", "-o", open_folder / "out", "--study",
                       closed / "s.db", **user)
        self.assert_refused(ran, WRITE_FAILED, "s.db")
        self.assertEqual(list(open_folder.iterdir()), [])

    def test_a_full_disk(self):
        program, folder = harness.PROGRAM, self.folder
        mount = 'mount -t tmpfs -o size={size}k none "$1" && cd "$1" && shift && exec "$@"'

        def on_small_disk(size, *arguments):
            (folder / "disk").mkdir(exist_ok=True)
            return subprocess.run(
                ["unshare", "-rm", "sh", "-c", mount.format(size=size), "sh", folder / "disk",
                 program, *arguments], capture_output=True, check=False, timeout=300)
        try:
            if on_small_disk(64, "--version").returncode != 0:
                self.skipTest("a small disk cannot be mounted on this system")
        except FileNotFoundError:
            self.skipTest("this system has no unshare")
        for size, study in ((64, folder / "s.db"), (8, "s.db"), (128, "s.db")):
            done = on_small_disk(size, "fit", folder / "model", "--effort", "fast", "--budget", "90%", "-o", "out",
                                 "--study", study, "--quiet")
            self.assertEqual(done.returncode, WRITE_FAILED, done)
            self.assertEqual(done.stdout, b"")
            self.assertEqual(done.stderr.count(b"\n"), 1, done)


if __name__ == "__main__":
    harness.main()
