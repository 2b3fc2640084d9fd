#!/usr/bin/env python3
"""Sources as users have them: odd names, links, side files, cards; the notes, and the carried files."""

import json
import os
import pathlib
import resource
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

OUT = ("--uniform", "4:32", "-o", "out")
MARK = "\ufffd"


class Sources(harness.ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = harness.write_model(self.folder / "model")

    def fit(self, model="model", status=0):
        ran = self.ram("fit", model, "--effort", "fast", *OUT)
        self.assertEqual(ran.status, status, ran)
        if status == 0:
            self.assertEqual(self.ram("verify", "out", "--source", model).status, 0)
        return ran

    def card(self):
        text = (self.folder / "out/README.md").read_bytes().decode()
        front, body = text.removeprefix("---\n").split("---\n", 1)
        return front, body

    # Names.

    def test_a_name_is_printable_wherever_it_comes_out(self):
        for name in (b"x\x1b[31m\ny", b"caf\xe9", "a\u202eb".encode(), b"\x9b2J", b"tab\there"):
            with self.subTest(name=name):
                odd = os.path.join(os.fsencode(self.folder), name)
                os.rename(self.model, odd)
                for command in (("inspect", odd), ("inspect", odd, "--json"),
                                ("analyze", odd), ("fit", odd, "--effort", "fast", *OUT), ("explain", "out")):
                    ran = harness.subprocess.run(
                        [harness.PROGRAM, *map(os.fsencode, command)], cwd=self.folder,
                        capture_output=True, env=harness.environment(), check=False)
                    self.assertEqual(ran.returncode, 0, ran)
                    shown = (ran.stdout + ran.stderr).decode()  # fails if it is not UTF-8
                    for character in "\x1b\x9b\u202e\r":
                        self.assertNotIn(character, shown)
                    if command[-1] == "--json":
                        self.assertIn(MARK, json.loads(shown)["name"])
                text = (self.folder / "out/README.md").read_bytes().decode()
                self.assertIn(MARK, text)
                self.assertNotIn("\x1b", text)
                plan = json.loads((self.folder / "out/plan.json").read_text())
                self.assertIn(MARK, plan["model"]["name"])
                harness.shutil.rmtree(self.folder / "out")
                os.rename(odd, self.model)

    def test_documents_are_utf8_for_every_path(self):
        for out in (b"caf\xe9", b"x\x1b[31m\n"):
            for command in ((b"fit", b"model", b"--uniform", b"4:32", b"-o", out),
                            (b"verify", out), (b"inspect", out), (b"explain", out)):
                ran = harness.subprocess.run(
                    [harness.PROGRAM, *command, b"--json"], cwd=self.folder, capture_output=True,
                    env=harness.environment(), check=False)
                self.assertEqual(ran.returncode, 0, ran)
                json.loads(ran.stdout.decode())

    def test_a_name_in_an_error_is_printable(self):
        for name in (b"no\x1b[31m\nwhere", b"no\xe9where"):
            ran = harness.subprocess.run([harness.PROGRAM, b"inspect", name], cwd=self.folder,
                                         capture_output=True, env=harness.environment(), check=False)
            self.assertEqual(ran.returncode, 3)
            self.assertIn(MARK, ran.stderr.decode())
            self.assertNotIn(b"\x1b", ran.stderr)
            self.assertEqual(ran.stderr.count(b"\n"), 1)

    def test_a_long_name_is_truncated(self):
        os.rename(self.model, self.folder / ("n" * 250))
        self.fit("n" * 250)
        plan = json.loads((self.folder / "out/plan.json").read_text())
        self.assertLess(len(plan["model"]["name"]), 210)

    def test_the_writer_of_plans_writes_nothing_that_the_reader_refuses(self):
        self.fit()
        path = self.folder / "out/plan.json"
        plan = json.loads(path.read_text())
        for name in ("a\nb", "a\x7fb", "a\u0085b", "a\u2028b", "a\u202eb", "x" * 301):
            path.write_text(json.dumps({**plan, "model": {**plan["model"], "name": name}}))
            ran = self.ram("explain", "out/plan.json", "--quiet")
            self.assert_refused(ran, 4, '"name"')

    # Side files.

    def test_files_of_the_system_are_not_carried(self):
        for name in (".DS_Store", "._config.json", "._x.py", ".gitattributes", ".cache/x.lock",
                     "__pycache__/x.py", ".x.py", "additional_chat_templates/._a.jinja"):
            (self.model / name).parent.mkdir(exist_ok=True)
            (self.model / name).write_bytes(b"\0\5\x16\7")
        (self.model / "x.py").write_text("x = 1\n")
        (self.model / "additional_chat_templates/a.jinja").write_text("{{ x }}")
        self.fit()
        self.assertEqual(set(harness.files_of(self.folder / "out")),
                         {"README.md", "config.json", "model.safetensors", "plan.json", "x.py",
                          "model.safetensors.index.json", "tokenizer.json",
                          "additional_chat_templates/a.jinja"})
        plan = json.loads((self.folder / "out/plan.json").read_text())
        self.assertEqual(plan["total_bytes"], harness.folder_bytes(self.folder / "out"))

    def test_a_link_out_of_the_folder_is_not_carried_and_named(self):
        (self.folder / "secret").write_text("PRIVATE KEY")
        (self.model / "LICENSE.key").symlink_to("../secret")
        (self.model / "NOTICE").write_text("terms")
        (self.model / "LICENSE").symlink_to("NOTICE")
        ran = self.fit()
        self.assertIn("LICENSE.key is a link out of the model's folder", ran.err)
        files = harness.files_of(self.folder / "out")
        self.assertNotIn("LICENSE.key", files)
        self.assertEqual(files["LICENSE"], b"terms")
        self.assertFalse(any(b"PRIVATE" in content for content in files.values()))

    def test_a_damaged_side_file_ends_nothing(self):
        damage = {"generation_config.json": b'{"eos": 1. }', "README.md": b"---\nlicense: \xff",
                  "tokenizer_config.json": b"{", "special_tokens_map.json": b"",
                  "chat_template.jinja": b"{% if", "adapter_config.json": b"["}
        for name, content in damage.items():
            (self.model / name).write_bytes(content)
        (self.model / "tokenizer.json").write_bytes(b"{{{")
        self.assertEqual(self.ram("inspect", "model").status, 0)
        ran = self.fit()
        self.assertIn("generation_config.json is ignored", ran.err)
        self.assertEqual((self.folder / "out/tokenizer.json").read_bytes(), b"{{{")

    def test_a_tokenizer_larger_than_memory_ends_nothing(self):
        if harness.sanitized():
            self.skipTest("skipped: sanitizers need more")
        vocabulary = {f"token{i}": i for i in range(128000)}
        (self.model / "tokenizer.json").write_text(json.dumps(
            {"version": "1.0", "added_tokens": [],
             "model": {"type": "BPE", "vocab": vocabulary,
                       "merges": [[f"token{i}", "x"] for i in range(128000)]}}))
        for megabytes in (90, 95, 100, 105, 110, 115, 120, 130):
            def limit(size=megabytes * 1_000_000):
                resource.setrlimit(resource.RLIMIT_AS, (size, size))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for command in (("inspect", "model"), ("fit", "model", "--effort", "fast", *OUT, "--force", "--threads", 1)):
                ran = self.ram(*command, preexec_fn=limit)
                self.assertEqual(ran.status, 0, (megabytes, ran))

    def test_without_a_tokenizer_a_note_says_so_and_mlx_lm_is_not_recommended(self):
        self.assertIn("mlx_lm.generate", self.fit().out)
        self.assertIn("mlx_lm.generate", self.card()[1])
        harness.shutil.rmtree(self.folder / "out")
        (self.model / "tokenizer.json").unlink()
        ran = self.fit()
        self.assertIn("tokenizer         none in the source", ran.out)
        self.assertNotIn("mlx_lm.generate", ran.out + self.card()[1])
        self.assertIn("no tokenizer", self.card()[1])

    # Weights.

    def test_weights_that_are_all_but_zero(self):
        path = self.model / "model.safetensors"
        data = bytearray(path.read_bytes())
        size = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:8 + size])
        for value in (1e-18, 1e-13, 1e-11, 1e-30):
            with self.subTest(value=value):
                begin, end = header["model.embed_tokens.weight"]["data_offsets"]
                bits = struct.pack("<H", harness.bf16(value))
                data[8 + size + begin:8 + size + end] = bits * ((end - begin) // 2)
                path.write_bytes(data)
                ran = self.ram("fit", "model", "--effort", "fast", "--budget", "95%", "-o", "out")
                self.assertEqual(ran.status, 0, ran)
                harness.shutil.rmtree(self.folder / "out")

    # The card.

    def test_the_card_keeps_what_is_true_of_the_output(self):
        (self.model / "README.md").write_text(
            "---\nlicense: other\nlicense_name: \"a: b\\\"\"\nlicense_link: LICENSE\n"
            "language: [en, no]\ntags:\n- chat\n- mlx\nwidget: x\nbase_model: Org/Base\n---\n# M\n")
        self.fit()
        front, body = self.card()
        self.assertEqual(front, 'library_name: mlx\nlicense: "other"\nlicense_name: "a: b\\""\n'
                                'license_link: "LICENSE"\nlanguage:\n- "en"\n- "no"\n'
                                'pipeline_tag: text-generation\n'
                                'tags:\n- "chat"\n- "mlx"\n- "quantized"\n')
        self.assertIn("without calibration data", body)
        self.assertIn("pip install mlx-lm", body)
        self.assertIn("from mlx_lm import generate, load", body)

    def test_the_base_model_is_an_id_of_the_hub_or_left_out(self):
        snapshot = self.folder / "cache/models--Org--Tiny/snapshots/abc"
        snapshot.parent.mkdir(parents=True)
        os.rename(self.model, snapshot)
        env = harness.environment(HF_HUB_CACHE=str(self.folder / "cache"))
        ran = self.ram("fit", "Org/Tiny", "--effort", "fast", *OUT, env=env)
        self.assertEqual(ran.status, 0, ran)
        self.assertIn('base_model: "Org/Tiny"\nbase_model_relation: quantized\n', self.card()[0])

    def test_a_name_or_a_card_cannot_add_to_the_front_matter_or_the_command(self):
        odd = "a\" license: mit `rm` $(rm) <b> [x](y) 'q'"
        (self.model / "README.md").write_text(
            "---\nlicense: \"x\\\"\\nadded: 1\"\ntags: ['b\nadded: 2', \"- c\"]\n---\n")
        os.rename(self.model, self.folder / odd)
        self.fit(odd)
        front, body = self.card()
        keys = [line.split(":")[0] for line in front.splitlines() if not line.startswith("- ")]
        self.assertEqual(keys, ["library_name", "license", "pipeline_tag", "tags"])
        self.assertNotIn("<b>", body.replace("\\<b\\>", "").split("Make it again")[0])
        command = body.split("    ram fit ")[1].split(" --uniform")[0]
        words = harness.subprocess.run(["sh", "-c", f"printf '%s' {command}"], capture_output=True,
                                       check=True)
        self.assertEqual(words.stdout.decode(), odd)

    # What next.

    def test_inspect_says_what_next_and_takes_finished_folders(self):
        self.assertIn("next:\n  ram fit model --budget ", self.ram("inspect", "model").out)
        self.fit()
        ran = self.ram("inspect", "out")
        self.assertEqual(ran.status, 0, ran)
        for part in ("4:32 x", "bits per weight", "ram verify out", "ram generate out"):
            self.assertIn(part, ran.out)
        document = self.ram("inspect", "out", "--json").json
        self.assertTrue(document["quantized"])
        self.assertEqual({u["format"] for u in document["units"]}, {"4:32", "bf16"})
        inspected = self.ram("inspect", "model").out
        size = inspected.split("--budget ")[1].split()[0]
        self.assertEqual(self.ram("plan", "model", "--budget", size).status, 0)


if __name__ == "__main__":
    harness.main()
