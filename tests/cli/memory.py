#!/usr/bin/env python3
"""The promise of `--memory` for commands that run models: the peak resident memory stays below it, also for models
larger than it, and the result is the same to the bit."""

import json
import pathlib
import random
import re
import shutil
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

LEAST_RATIO = 1.5  # of a model's size to the memory in which it runs
VOCABULARY = 4096
DEMO = pathlib.Path(__file__).resolve().parent.parent.parent / "models/demo"


def normal_bf16(count, seed):
    generator = random.Random(seed)
    return b"".join(struct.pack("<f", generator.gauss(0, 0.03))[2:] for _ in range(count))


class Writer:
    """One safetensors file of random bf16 matrices and norms of ones."""

    def __init__(self):
        self.tensors = []

    def matrix(self, name, rows, cols):
        self.tensors.append((name, [rows, cols]))

    def norm(self, name, width):
        self.tensors.append((name, [width]))

    def write(self, path):
        header, at = {}, 0
        for name, shape in self.tensors:
            size = 2
            for extent in shape:
                size *= extent
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        values = normal_bf16(1 << 16, 1)
        values += values  # so that any window is one slice
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for index, (name, shape) in enumerate(self.tensors):
                begin, end = header[name]["data_offsets"]
                if len(shape) == 1:
                    file.write(b"\x80\x3f" * shape[0])
                    continue
                first = 2 * (index * 7919 % (1 << 16))
                window = values[first:first + (1 << 17)]
                whole, rest = divmod(end - begin, len(window))
                for _ in range(whole):
                    file.write(window)
                file.write(window[:rest])


def write_model(folder, experts, layers, hidden=512):
    """`experts` 0 makes a dense model."""
    folder.mkdir()
    dim, heads, kv_heads = 64, hidden // 64, hidden // 256
    width = 512 if experts else 3072
    config = {"model_type": "qwen3_moe" if experts else "qwen3",
              "architectures": ["Qwen3MoeForCausalLM" if experts else "Qwen3ForCausalLM"],
              "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
              "num_key_value_heads": kv_heads, "head_dim": dim, "intermediate_size": width,
              "vocab_size": VOCABULARY, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
              "max_position_embeddings": 1024, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
    if experts:
        config.update(num_experts=experts, num_experts_per_tok=4, moe_intermediate_size=width, norm_topk_prob=True,
                      decoder_sparse_step=1, mlp_only_layers=[])
    (folder / "config.json").write_text(json.dumps(config))
    writer = Writer()
    writer.matrix("model.embed_tokens.weight", VOCABULARY, hidden)
    for layer in range(layers):
        base = f"model.layers.{layer}."
        writer.norm(base + "input_layernorm.weight", hidden)
        writer.norm(base + "post_attention_layernorm.weight", hidden)
        attention = base + "self_attn."
        writer.matrix(attention + "q_proj.weight", heads * dim, hidden)
        writer.matrix(attention + "k_proj.weight", kv_heads * dim, hidden)
        writer.matrix(attention + "v_proj.weight", kv_heads * dim, hidden)
        writer.matrix(attention + "o_proj.weight", hidden, heads * dim)
        writer.norm(attention + "q_norm.weight", dim)
        writer.norm(attention + "k_norm.weight", dim)
        blocks = [base + f"mlp.experts.{i}." for i in range(experts)] if experts else [base + "mlp."]
        if experts:
            writer.matrix(base + "mlp.gate.weight", experts, hidden)
        for block in blocks:
            writer.matrix(block + "gate_proj.weight", width, hidden)
            writer.matrix(block + "up_proj.weight", width, hidden)
            writer.matrix(block + "down_proj.weight", hidden, width)
    writer.norm("model.norm.weight", hidden)
    writer.matrix("lm_head.weight", VOCABULARY, hidden)
    writer.write(folder / "model.safetensors")
    return folder


class Memory(harness.ProgramTest):
    def setUp(self):
        super().setUp()
        # A sanitizer keeps freed memory, and shadow memory for all of it.
        self.sanitized = harness.sanitized()
        if self.sanitized:
            print("skipped: with sanitizers the peak is not the program's own; only results are compared", flush=True)

    def part_of(self, layers):
        """With sanitizers only results are compared, and a quarter of the size is enough."""
        return layers // 4 if self.sanitized else layers

    def run_logits(self, model, *options):
        ids = self.folder / "ids.json"
        generator = random.Random(2)
        ids.write_text(json.dumps([[generator.randrange(VOCABULARY) for _ in range(192)] for _ in range(3)]))
        out = self.folder / "out.safetensors"
        out.unlink(missing_ok=True)
        return out, self.ram("logits", model, "--ids", ids, "-o", out, "--threads", 2, "--json", *options)

    def logits(self, model, *options):
        out, ran = self.run_logits(model, *options)
        self.assertEqual(ran.status, 0, ran)
        return out.read_bytes(), ran.json["peak_resident_bytes"]

    def least_memory(self, model):
        """The least memory, as named when less is refused."""
        _, ran = self.run_logits(model, "--memory", "120MB")
        self.assertEqual(ran.status, 2, ran)
        need = re.search(r"need ([0-9.]+) MB", ran.err)
        self.assertTrue(need, ran)
        return round(float(need[1]) * 1e6)

    def check(self, model):
        """With the least accepted memory, and with unlimited memory."""
        memory = self.least_memory(model)
        within, peak = self.logits(model, "--memory", memory)
        free, free_peak = self.logits(model, "--memory", "8GB")
        self.assertEqual(within == free, True, "other logits within --memory")
        print(f"{model.name}: --memory {memory / 1e6:.0f} MB, peak {peak / 1e6:.0f} MB; "
              f"without a bound {free_peak / 1e6:.0f} MB", flush=True)
        if not self.sanitized:
            # More memory holds more rows or weights at once: test the promise at several sizes.
            for more in (1.1, 1.25, 1.4):
                _, peak_of_more = self.logits(model, "--memory", int(memory * more))
                self.assertLessEqual(peak_of_more, memory * more)
            self.assertGreater(free_peak, LEAST_RATIO * memory, "the model is too small for this test")
            self.assertLessEqual(peak, memory)

    def test_a_dense_model_larger_than_memory(self):
        model = write_model(self.folder / "dense", 0, self.part_of(16), hidden=1024)
        self.check(model)

    def test_a_model_of_experts_larger_than_memory(self):
        model = write_model(self.folder / "experts", 32, self.part_of(8))
        self.check(model)

    def test_too_little_for_a_prompt_or_a_question_is_refused(self):
        for command in (("generate", DEMO, "--prompt", "Question: "),
                        ("tasks", DEMO, "--task", "choice", "--data", DEMO / "questions.jsonl", "--limit", 2)):
            ran = self.ram(*command, "--memory", "120MB")
            self.assertEqual(ran.status, 2, ran)
            self.assertRegex(ran.err, r"memory 120.0 MB: rows of [0-9]+ tokens of demo need [0-9.]+ MB")

    def test_a_quantized_model_whose_weights_do_not_fit_when_unpacked(self):
        if self.sanitized:
            self.skipTest("measuring a model of this size takes minutes with sanitizers")
        model = write_model(self.folder / "experts", 32, 8)
        out = self.folder / "quantized"
        ran = self.ram("fit", model, "--uniform", "8:64", "-o", out, "--quiet")
        self.assertEqual(ran.status, 0, ran)
        self.check(out)


class CalibrationMemory(harness.ProgramTest):
    """fit --effort best: text, probing, moments, encoding and writing, with the least accepted memory."""

    TEXT = ("--calibration-rows", 6, "--calibration-length", 64)

    def fit(self, model, memory, *options):
        return self.ram("fit", model, "--bpw", 4, "--effort", "best", *self.TEXT, "--memory", memory, "--threads", 2,
                        "-o", "out", "--force", "--json", *options)

    def test_the_least_accepted_memory_is_kept_and_gives_the_same_bytes(self):
        if harness.sanitized():
            self.skipTest("with sanitizers the peak is not the program's own")
        for name, experts in (("dense", 0), ("experts", 8)):
            model = write_model(self.folder / name, experts, 1)
            shutil.copy(DEMO / "tokenizer.json", model)
            config = json.loads((model / "config.json").read_text()) | {"bos_token_id": 0, "eos_token_id": 0}
            (model / "config.json").write_text(json.dumps(config))
            ran = self.fit(model, "120MB")
            self.assertEqual(ran.status, 2, ran)
            self.assertIn("--calibration-rows", ran.err)
            memory = round(float(re.search(r"needs ([0-9.]+) MB", ran.err)[1]) * 1e6)
            ran = self.fit(model, memory)
            self.assertEqual(ran.status, 0, ran)
            peak = ran.json["peak_resident_bytes"]
            print(f"{name}: fit --effort best --memory {memory / 1e6:.0f} MB, peak {peak / 1e6:.0f} MB", flush=True)
            self.assertLessEqual(peak, memory)
            within = (self.folder / "out/model.safetensors").read_bytes()
            # The measurements are known now: only encoding is repeated.
            ran = self.fit(model, "8GB")
            self.assertEqual(ran.status, 0, ran)
            self.assertEqual((self.folder / "out/model.safetensors").read_bytes() == within, True,
                             "other weights within --memory")


if __name__ == "__main__":
    harness.main()
