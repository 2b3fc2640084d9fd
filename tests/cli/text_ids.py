#!/usr/bin/env python3
"""ram tokenize: text on stdin to ids on stdout and back, from tokenizer.json alone."""

import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

VECTORS = pathlib.Path(__file__).parent.parent / "vectors" / "tokenizer"
CORRUPT, MISSING, UNSUPPORTED, USAGE = 4, 3, 5, 2


class Tokenize(harness.ProgramTest):
    def setUp(self):
        super().setUp()
        self.cases = self.write("llama2")

    def write(self, kind):
        """Makes a folder with only tokenizer.json. Returns the kind's cases."""
        document = json.loads((VECTORS / f"{kind}.json").read_text())
        folder = self.folder / kind
        folder.mkdir()
        (folder / "tokenizer.json").write_text(document["tokenizer"])
        return document["cases"]

    def tokenize(self, data, *arguments):
        """Status, stdout and stderr as bytes."""
        done = subprocess.run([harness.PROGRAM, "tokenize", *arguments], cwd=self.folder, input=data,
                              capture_output=True, env=harness.environment(), check=False,
                              timeout=harness.TIMEOUT_S)
        return done.returncode, done.stdout, done.stderr.decode()

    def ids(self, data, *arguments):
        status, out, err = self.tokenize(data, *arguments)
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(out.endswith(b"\n") and out.count(b"\n") == 1, out)
        self.assertEqual(out, " ".join(out.decode().split()).encode() + b"\n")
        return [int(word) for word in out.split()]

    def refused(self, status, data, *arguments, says=()):
        found, out, err = self.tokenize(data, *arguments)
        self.assertEqual((found, out), (status, b""), err)
        self.assertTrue(err.startswith("ram: error: ") and err.count("\n") == 1, err)
        for part in says:
            self.assertIn(part, err)

    def test_ids_are_on_one_line_and_special_tokens_are_added_on_demand_only(self):
        for case in self.cases:
            text = case["text"].encode()
            self.assertEqual(self.ids(text, "llama2"), case["ids"], case["text"])
            self.assertEqual(self.ids(text, "llama2", "--special"), case["special"], case["text"])

    def test_decode_is_the_reverse(self):
        demo = str(VECTORS.parent.parent.parent / "models" / "demo")
        text = "Größe, 123  \n\n\t素早い <|endoftext|> \U0001f600\n".encode()
        for model in ("llama2", demo):
            for special in ((), ("--special",)):
                line = " ".join(map(str, self.ids(text, model, *special))).encode()
                status, out, err = self.tokenize(line, model, "--decode", *special)
                self.assertEqual((status, out, err), (0, text, ""))
        listed = json.dumps(self.ids(text, demo)).encode()
        self.assertEqual(self.tokenize(listed, demo, "--decode")[1], text)

    def test_bytes_that_are_not_utf8_count_as_replacement_characters(self):
        data = b"a\xff b\xe2\x82 c\xf0\x9f\x98"
        expected = self.ids(data.decode(errors="replace").encode(), "llama2")
        self.assertEqual(self.ids(data, "llama2"), expected)

    def test_json_is_one_document(self):
        status, out, _ = self.tokenize(b"a b", "llama2", "--json")
        self.assertEqual((status, json.loads(out)["ids"]), (0, self.ids(b"a b", "llama2")))
        status, out, _ = self.tokenize(json.dumps(json.loads(out)["ids"]).encode(), "llama2",
                                       "--decode", "--json")
        self.assertEqual((status, json.loads(out)), (0, {"text": "a b"}))

    def test_more_than_memory_is_for_is_one_line_and_is_not_read_to_its_end(self):
        small = b"a b " * 1000
        for special in ((), ("--decode",)):
            data = small if not special else b"1 2 " * 1000
            self.refused(USAGE, data, "llama2", "--memory", "32KiB", *special, says=("stdin", "--memory"))
            self.assertEqual(self.tokenize(data, "llama2", "--memory", "1MiB", *special)[0], 0)
        self.refused(USAGE, b"a" * 20_000, "llama2", "--memory", "1MiB", says=("without a space", "--memory"))
        endless = subprocess.Popen(["yes", "some words"], stdout=subprocess.PIPE)
        try:
            done = subprocess.run([harness.PROGRAM, "tokenize", "llama2", "--memory", "64MiB"], cwd=self.folder,
                                  stdin=endless.stdout, capture_output=True, env=harness.environment(),
                                  check=False, timeout=harness.TIMEOUT_S)
        finally:
            endless.kill()
            endless.wait()
            endless.stdout.close()
        self.assertEqual((done.returncode, done.stdout), (USAGE, b""), done.stderr)

    def test_a_large_file_that_is_no_tokenizer_is_not_read(self):
        path = self.folder / "llama2" / "tokenizer.json"
        with open(path, "r+b") as file:
            file.truncate((64 << 20) + 1)
        self.refused(CORRUPT, b"a", "llama2", says=("tokenizer.json", "expected at most"))

    def test_ids_of_a_text_of_many_pieces_are_one_line(self):
        text = b"Some words, 123. " * 30000
        ids = self.ids(text, "llama2")
        self.assertGreater(len(ids), 300_000)
        line = " ".join(map(str, ids)).encode()
        self.assertEqual(self.tokenize(line, "llama2", "--decode")[:2], (0, text))
        status, out, _ = self.tokenize(text, "llama2", "--json")
        self.assertEqual((status, out), (0, json.dumps({"ids": ids}, separators=(",", ":")).encode() + b"\n"))

    def test_empty_input_gives_empty_output(self):
        self.assertEqual(self.tokenize(b"", "llama2")[:2], (0, b"\n"))
        self.assertEqual(self.tokenize(b" \n", "llama2", "--decode")[:2], (0, b""))

    def test_words_that_are_not_ids_are_refused_by_name(self):
        for data, says in ((b"1 x2 3", "'x2'"), (b"1 99999999", "'99999999'"), (b"-1", "'-1'"),
                           (b"1.5", "'1.5'"), (b"99999999999999999999", "'99999999999999999999'")):
            self.refused(CORRUPT, data, "llama2", "--decode", says=(says, "numbers from 0 to"))

    def test_folders_without_a_tokenizer_that_is_handled(self):
        (self.folder / "empty").mkdir()
        self.refused(MISSING, b"a", "empty", says=("tokenizer.json",))
        self.refused(MISSING, b"a", "nowhere", says=("nowhere",))
        path = self.folder / "llama2" / "tokenizer.json"
        path.write_text('{"model": {"type": "Unigram", "vocab": []}}')
        self.refused(UNSUPPORTED, b"a", "llama2", says=("Unigram", "BPE", "tokenizer.json"))
        path.write_text('{"model": ')
        self.refused(CORRUPT, b"a", "llama2", says=("not valid JSON", "tokenizer.json"))
        self.refused(USAGE, b"a")


if __name__ == "__main__":
    harness.main()
