"""The programs that ram follows: their versions, and every rule that ram takes from them.

Each test first shows the rule on the installed peer, then that ram keeps it. Three only show the rule:
the keys that mlx_lm obeys (a list for people), the size of shards (src/checkpoint/mlx_layout_test.cpp
tests them) and the harness's questions (tests/peers/tasks_vs_lm_eval.py asks both). If a newer peer
behaves differently, the failure names peer, versions, rule, and its place in ram. Rules that need a
missing peer (no torch, no lm_eval) are skipped with their names.
"""

import contextlib
import dataclasses
import importlib
import importlib.metadata
import inspect
import json
import re
import shutil

import make_models
import mlx.core as mx
import mlx_lm
import mlx_lm.utils
import numpy as np
import support

# The versions whose sources were read. A newer version is not a failure: the tests show what changed.
FOLLOWED = {
    "mlx": "0.32.4",
    "mlx-lm": "0.32.2",
    "transformers": "5.24.0",
    "tokenizers": "0.23.3",
    "lm-eval": "0.4.11",
}

# Fields of mlx_lm's ModelArgs: the keys of config.json that a model obeys. All are read, written out
# or refused by src/checkpoint/config.cpp and families/; a new one must be looked at there.
COMMON = {"model_type", "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads",
          "rms_norm_eps", "vocab_size", "num_key_value_heads", "rope_theta", "rope_scaling",
          "tie_word_embeddings"}  # fmt: skip
EXPERTS = {"num_experts", "num_experts_per_tok", "moe_intermediate_size"}
MODEL_KEYS = {
    "llama": COMMON | {"head_dim", "max_position_embeddings", "attention_bias", "mlp_bias",
                       "rope_traditional", "layer_types", "sliding_window"},
    "qwen2": COMMON | {"max_position_embeddings", "rope_traditional"},
    "qwen3": COMMON | {"max_position_embeddings", "head_dim", "rope_parameters"},
    "qwen3_moe": COMMON | EXPERTS | {"max_position_embeddings", "head_dim", "decoder_sparse_step",
                                     "mlp_only_layers", "norm_topk_prob"},
    "qwen2_moe": COMMON | EXPERTS | {"shared_expert_intermediate_size", "rope_traditional"},
    "mixtral": COMMON | {"num_experts_per_tok", "num_local_experts", "rope_traditional"},
}  # fmt: skip
# Keys that load_model and load_config read themselves (kObeyedKeys of config.cpp, quantization.cpp).
LOADER_KEYS = {"eos_token_id", "model_file", "quantization", "quantization_config", "text_config",
               "quantize_activations"}  # fmt: skip
# What lm-evaluation-harness asks, as src/tasks/ writes it.
ASKED = {
    "arc/arc_easy.yaml": 'doc_to_text: "Question: {{question}}\\nAnswer:"',
    "arc/arc_challenge.yaml": "include: arc_easy.yaml",
    "hellaswag/utils.py": 'doc["activity_label"] + ": " + ctx',
    "winogrande/default.yaml": "doc_to_text: !function preprocess_winogrande.doc_to_text",
    "mmlu/default/_default_template_yaml":
        'doc_to_text: "{{question.strip()}}\\nA. {{choices[0]}}\\nB. {{choices[1]}}\\n'
        'C. {{choices[2]}}\\nD. {{choices[3]}}\\nAnswer:"',
}  # fmt: skip

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def installed(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def moved(package):
    """ "mlx-lm 0.33.0 (0.32.2 was followed)" """
    return f"{package} {installed(package)} ({FOLLOWED[package]} was followed)"


def setUpModule():
    for package, version in FOLLOWED.items():
        found = installed(package)
        if found is None:
            print(f"skipped: followed: {package} {version} is not in this environment")
        elif found != version:
            print(f"followed: {moved(package)}: its rules are tested below, one by one")


class Followed(support.InteropCase):
    @contextlib.contextmanager
    def rule(self, package, where, rule):
        """The block shows the rule only on the peer."""
        if installed(package) is None:
            self.skipTest(f"{package} is not in this environment")
        try:
            yield
        except Exception as error:
            raise AssertionError(
                f"{moved(package)} no longer behaves as ram follows it: {rule}. "
                f"Look at {where}. ({type(error).__name__}: {error})"
            ) from error

    def need(self, module):
        try:
            return importlib.import_module(module)
        except ImportError:
            return self.skipTest(f"{module} is not in this environment (scripts/test --peers)")

    def model(self, name, family="llama", *, edit=None, config=(), **options):
        """A tiny model in float32: `edit` changes its tensors, `config` is added to config.json."""
        folder = self.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        m = make_models.computing(name, family, dtype="float32", **options)
        make_models.write_model(folder, m)
        if edit:
            arrays = {n: make_models.values(m, n, s) for n, s in make_models.tensors(m).items()}
            edit(arrays)
            make_models.write_safetensors(folder / "model.safetensors", arrays, m.dtype)
        self.change_config(folder, **dict(config))
        return folder

    @staticmethod
    def change_config(folder, **changes):
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    def uniform(self, folder, bits="8:32"):
        out = self.scratch / f"{folder.name}-out"
        shutil.rmtree(out, ignore_errors=True)
        self.ram.run("fit", folder, "--uniform", bits, "-o", out)
        return out

    def mlx_quantized(self, folder, predicate=None):
        out = self.scratch / f"{folder.name}-mlx"
        shutil.rmtree(out, ignore_errors=True)
        with support.silent():
            mlx_lm.convert(str(folder), mlx_path=str(out), quantize=True, q_group_size=64, q_bits=4,
                           quant_predicate=predicate)  # fmt: skip
        return out

    def mlx_logits(self, folder, ids):
        model = support.cast(support.load(folder), mx.float32)
        return np.array(model(mx.array(ids)))

    # mlx_lm: keys that its loader obeys.

    def test_the_keys_that_mlx_lm_obeys_are_known(self):
        where = "kObeyedKeys in src/checkpoint/config.cpp, and quantization.cpp"
        with self.rule("mlx-lm", where, "load_model reads only these keys of config.json"):
            source = "".join(
                inspect.getsource(f) for f in (mlx_lm.utils.load_model, mlx_lm.utils.load_config)
            )
            key = r'''\bconfig(?:\.get\(|\[)"(\w+)"|"(\w+)" (?:not )?in config'''
            self.assertEqual(LOADER_KEYS, {a or b for a, b in re.findall(key, source)})
        for family, keys in MODEL_KEYS.items():
            where = "the family's file in src/checkpoint/families/, and config.cpp"
            with self.rule("mlx-lm", where, f"its {family} model obeys only these keys"):
                arguments = importlib.import_module(f"mlx_lm.models.{family}").ModelArgs
                self.assertEqual(keys, {field.name for field in dataclasses.fields(arguments)})
        with self.rule("mlx-lm", "families/mistral.cpp", "a mistral is its llama model"):
            self.assertEqual("llama", mlx_lm.utils.MODEL_REMAPPING["mistral"])

    def test_keys_that_only_mlx_lm_obeys_are_left_out(self):
        where = "kObeyedKeys in src/checkpoint/config.cpp"
        for key, value in {"model_file": "modeling_x.py", "quantize_activations": True}.items():
            folder = self.model(f"obeys-{key}", config={key: value})
            (folder / "modeling_x.py").write_text("raise SystemError\n")
            out = self.uniform(folder)
            with self.rule("mlx-lm", where, f"with {key} it refuses a folder"):
                self.change_config(out, **{key: value})
                with self.assertRaises(ValueError):
                    support.load(out)
            support.load(self.uniform(folder))

    def test_mlx_lm_rotates_neighbours_where_the_config_asks_for_it(self):
        folder = self.model("traditional")
        ids = support.text_ids(make_models.VOCABULARY)
        with self.rule("mlx-lm", "refuse_what_mlx_ignores", "rope_traditional changes its llama"):
            usual = self.mlx_logits(folder, ids)
            self.change_config(folder, rope_traditional=True)
            self.assertGreater(np.abs(self.mlx_logits(folder, ids) - usual).max(), 1e-2)
        self.ram.run("inspect", folder, expect=5)

    def test_layer_types_make_another_llama_of_it(self):
        ids = support.text_ids(make_models.VOCABULARY)
        folder = self.model("sliding")
        usual = self.mlx_logits(folder, ids)
        types = ["full_attention", "sliding_attention", "sliding_attention"]
        self.change_config(folder, layer_types=types, sliding_window=make_models.WINDOW)
        with self.rule("mlx-lm", "drop_what_only_mlx_obeys", "its llama slides where layer_types say"):
            self.assertGreater(np.abs(self.mlx_logits(folder, ids) - usual).max(), 1e-2)
        self.assertNotIn("layer_types", json.loads((self.uniform(folder) / "config.json").read_text()))
        self.assertLess(np.abs(self.ram_logits(folder) - usual).max(), support.LOGIT_TOLERANCE)

    # mlx_lm: how each module is stored.

    def test_a_module_without_an_entry_has_the_format_of_its_shapes(self):
        def mixed(path, module):
            return {"bits": 8, "group_size": 32} if "down_proj" in path else True

        out = self.mlx_quantized(self.model("mixed"), mixed)
        wanted = self.ram_logits(out)
        bare = {key: 64 if key == "group_size" else 4 for key in ("group_size", "bits")}
        self.change_config(out, quantization=bare, quantization_config=bare)
        where = "Builder::format_of_shapes in src/checkpoint/table.cpp"
        with self.rule("mlx-lm", where, "infer_quant_config takes bits and group size from shapes"):
            formats = support.formats_of(support.load(out))
            self.assertEqual((8, 32), formats["model.layers.1.mlp.down_proj"])
            self.assertEqual((4, 64), formats["model.layers.1.mlp.up_proj"])
        self.assertTrue(np.array_equal(wanted, self.ram_logits(out)))

    def test_quant_method_counts_in_quantization_config_only(self):
        out = self.mlx_quantized(self.model("method"))
        wanted = self.ram_logits(out)
        named = {"group_size": 64, "bits": 4, "quant_method": "auto-round"}
        self.change_config(out, quantization=named, quantization_config=named)
        where = "StoredFormats::parse in src/checkpoint/quantization.cpp"
        with self.rule("mlx-lm", where, "quant_method inside quantization is ignored"):
            support.load(out)
        self.assertTrue(np.array_equal(wanted, self.ram_logits(out)))

    def test_the_shards_are_five_gibibytes_at_most(self):
        with self.rule("mlx-lm", "kMaxShardBytes in ram/mlx_layout.h", "MAX_FILE_SIZE_GB is 5"):
            self.assertEqual(5, mlx_lm.utils.MAX_FILE_SIZE_GB)

    # Heads.

    def test_a_tied_head_that_differs_is_the_models(self):
        def own_head(arrays):
            arrays[HEAD] = arrays[EMBEDDING] + np.float32(0.05) * np.sign(arrays[EMBEDDING])

        folder = self.model("own-head", "qwen3", tied=True, head_dim=64, edit=own_head)
        ids = support.text_ids(make_models.VOCABULARY)
        where = "settle_head in src/checkpoint/checkpoint.cpp"
        with self.rule("mlx-lm", where, "it drops the head of a config that ties"):
            dropped = self.mlx_logits(folder, ids)
        out = self.uniform(folder, "8:32")
        config = json.loads((out / "config.json").read_text())
        self.assertIs(False, config["tie_word_embeddings"])
        self.change_config(folder, tie_word_embeddings=False)
        wanted = self.mlx_logits(folder, ids)
        with self.rule("mlx-lm", where, "it drops the head of a config that ties"):
            self.assertGreater(np.abs(dropped - wanted).max(), 0.1)
        self.change_config(folder, tie_word_embeddings=True)
        self.assertLess(np.abs(self.ram_logits(folder) - wanted).max(), support.LOGIT_TOLERANCE)
        torch = self.need("torch")
        transformers = self.need("transformers")
        with self.rule("transformers", where, "a tied head that differs is not tied"):
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
            found = model.eval()(torch.tensor(ids)).logits.detach().numpy()
            self.assertLess(np.abs(found - wanted).max(), support.LOGIT_TOLERANCE)

    def test_a_tied_head_that_is_equal_is_the_embedding(self):
        folder = self.model("equal-head", tied=True,
                            edit=lambda arrays: arrays.update({HEAD: arrays[EMBEDDING]}))  # fmt: skip
        out = self.uniform(folder)
        self.assertIs(True, json.loads((out / "config.json").read_text())["tie_word_embeddings"])
        with self.rule("mlx-lm", "settle_head", "it loads a tied folder without a head"):
            support.load(out)

    # Files that disagree or are damaged.

    def test_of_an_index_the_names_of_files_count(self):
        folder = self.model("index", shards=2)
        path = folder / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        index["weight_map"]["model.mtp.0.proj.weight"] = "model-00001-of-00002.safetensors"
        index["weight_map"][EMBEDDING] = "model-00002-of-00002.safetensors"
        path.write_text(json.dumps(index))
        where = "compare_index in src/checkpoint/checkpoint.cpp"
        with self.rule("mlx-lm", where, "it loads a folder whose index is wrong about tensors"):
            wanted = self.mlx_logits(folder, support.text_ids(make_models.VOCABULARY))
        self.assertLess(np.abs(self.ram_logits(folder) - wanted).max(), support.LOGIT_TOLERANCE)
        torch = self.need("torch")
        transformers = self.need("transformers")
        with self.rule("transformers", where, "it loads a folder whose index is wrong about tensors"):
            transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def test_beside_the_whole_file_an_index_is_not_read(self):
        folder = self.model("whole")
        (folder / "model.safetensors.index.json").write_text("{")
        where = "find_shards in src/checkpoint/folder.cpp"
        with self.rule("mlx-lm", where, "it reads no index"):
            support.load(folder)
        self.ram.run("inspect", folder)
        torch = self.need("torch")
        transformers = self.need("transformers")
        with self.rule("transformers", where, "model.safetensors takes precedence over an index"):
            transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def test_a_generation_config_that_is_not_json_ends_nothing(self):
        folder = self.model("generation")
        (folder / "generation_config.json").write_text('{"do_sample": true. "eos_token_id": 7,}')
        where = "prefer_generation_config in src/checkpoint/checkpoint.cpp"
        with self.rule("mlx-lm", where, "a generation_config.json that is not JSON is ignored"):
            self.assertEqual(1, mlx_lm.utils.load_config(folder)["eos_token_id"])
        self.ram.run("inspect", folder)
        (folder / "generation_config.json").write_text('{"eos_token_id": [7, 8]}')
        with self.rule("mlx-lm", where, "its end-of-text ids override config.json's"):
            self.assertEqual([7, 8], mlx_lm.utils.load_config(folder)["eos_token_id"])

    def test_infinity_in_a_config_is_read_and_written_as_a_tag(self):
        folder = self.model("infinity", config={"time_step_limit": [0.0, float("inf")]})
        self.assertIn("Infinity", (folder / "config.json").read_text())
        where = "tag_numbers in src/checkpoint/config.cpp"
        with self.rule("mlx-lm", where, "Python's words for numbers are read"):
            self.assertEqual(float("inf"), mlx_lm.utils.load_config(folder)["time_step_limit"][1])
        out = self.uniform(folder)
        limit = json.loads((out / "config.json").read_text(), parse_constant=self.fail)
        self.assertEqual([0.0, {"__float__": "Infinity"}], limit["time_step_limit"])
        with self.rule("mlx-lm", where, "a tagged float is read"):
            self.assertEqual(float("inf"), mlx_lm.utils.load_config(out)["time_step_limit"][1])
        transformers = self.need("transformers")
        with self.rule("transformers", where, "a tagged float is read"):
            config = transformers.AutoConfig.from_pretrained(out)
            self.assertEqual(float("inf"), config.time_step_limit[1])

    def test_chat_templates_in_their_folder_are_carried(self):
        folder = self.model("templates")
        (folder / "chat_template.jinja").write_text("{{ messages[0] }}")
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ messages }}")
        name = "additional_chat_templates/tool_use.jinja"
        where = "the table of src/checkpoint/side_files.cpp"
        with self.rule("mlx-lm", where, "convert keeps additional_chat_templates"):
            self.assertTrue((self.mlx_quantized(folder) / name).exists())
        self.assertEqual("{{ messages }}", (self.uniform(folder) / name).read_text())

    # transformers: keys and their defaults.

    def test_the_dtype_of_two_keys(self):
        transformers = self.need("transformers")
        folder = self.scratch / "dtypes"
        make_models.write_model(folder, make_models.computing("dtypes", "llama"))  # of bfloat16
        self.change_config(folder, torch_dtype="float16", dtype="bfloat16")
        where = "settle_dtype in src/checkpoint/checkpoint.cpp"
        with self.rule("transformers", where, "dtype takes precedence over torch_dtype"):
            found = transformers.AutoConfig.from_pretrained(folder).dtype
            self.assertIn("bfloat16", str(found))
        self.assertEqual("bf16", self.ram.run("inspect", folder)["dtype"])

    def test_the_theta_of_two_places(self):
        transformers = self.need("transformers")
        where = "spell_rope in src/checkpoint/config.cpp"
        linear = {"rope_type": "linear", "factor": 2.0}
        for scaling, parameters, wanted in (
            (None, {"rope_type": "default", "rope_theta": 1e6}, 1e6),
            (linear, {**linear, "rope_theta": 1e6}, 5e5),
            ({**linear, "rope_theta": 2e6}, {**linear, "rope_theta": 1e6}, 2e6),
        ):
            folder = self.model("theta", config={
                "rope_theta": 5e5, "rope_scaling": scaling, "rope_parameters": parameters})  # fmt: skip
            with self.rule("transformers", where, "rope_scaling with its theta, then the top's"):
                found = transformers.AutoConfig.from_pretrained(folder).rope_parameters
                self.assertEqual(wanted, found["rope_theta"])
            config = json.loads((self.uniform(folder) / "config.json").read_text())
            self.assertEqual(wanted, config["rope_theta"])
            self.assertEqual(wanted, config["rope_parameters"]["rope_theta"])

    def test_the_hub_reads_the_card(self):
        hub = self.need("huggingface_hub")
        folder = self.model("card")
        (folder / "README.md").write_text(
            '---\nlicense: other\nlicense_name: "a: b"\nlanguage: [en, "no"]\ntags: [chat]\n---\n'
        )
        card = hub.ModelCard.load(self.uniform(folder) / "README.md").data.to_dict()
        wanted = {"license": "other", "license_name": "a: b", "language": ["en", "no"],
                  "tags": ["chat", "mlx", "quantized"], "library_name": "mlx",
                  "pipeline_tag": "text-generation"}  # fmt: skip
        self.assertEqual(wanted, card)

    def test_swish_is_silu(self):
        torch = self.need("torch")
        with self.rule("transformers", "means_the_same in config.cpp", "swish is another name of silu"):
            activations = importlib.import_module("transformers.activations").ACT2FN
            x = torch.linspace(-4, 4, 101)
            self.assertTrue(torch.equal(activations["swish"](x), activations["silu"](x)))
        self.ram.run("inspect", self.model("swish", config={"hidden_act": "swish"}))

    # tokenizers and lm-evaluation-harness.

    def test_ids_are_those_of_tokenizers(self):
        tokenizers = self.need("tokenizers")
        folder = self.model("ids")
        # This file's vocabulary begins at the letter of code 256: a space is "\u0120".
        with self.rule("tokenizers", "src/tokenizer/byte_level.cpp", "bytes are letters as GPT-2 has them"):
            tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            ids = tokenizer.encode(" \n\x00</s>", add_special_tokens=False).ids
            self.assertEqual([0x120 - 0x100 + 2, 0x10A - 0x100 + 2, 2, 1], ids)
        self.assertEqual(ids, self.ram.run("tokenize", folder, stdin=" \n\x00</s>")["ids"])

    def test_the_questions_are_those_of_the_harness(self):
        if installed("lm-eval") is None:
            self.skipTest("lm-eval is not in this environment (scripts/test --peers)")
        files = importlib.metadata.files("lm-eval")
        for name, line in ASKED.items():
            with self.rule("lm-eval", "src/tasks/", f"lm_eval/tasks/{name} says {line!r}"):
                file = next(f for f in files if str(f) == f"lm_eval/tasks/{name}")
                self.assertIn(line, file.locate().read_text())
