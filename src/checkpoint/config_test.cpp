// config.json: what is read from either spelling, what is rejected, and what is written.
#include "config.h"

#include <chrono>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"

#include "json_text.h"
#include "support/corrupt_inputs.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Spelling;
using testing::TempFolder;
using testing::TinyModel;

void expect_text_refused(const std::string& text, Code code, const std::string& reason) {
  SCOPED_TRACE(reason);
  const auto start = std::chrono::steady_clock::now();
  try {
    parse_config(text, "m/config.json");
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(reason));
    EXPECT_THAT(error.what(), HasSubstr("m/config.json"));
    EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

/// The tiny config of a family with some keys replaced.
std::string changed(const std::string& family, const Json& changes) {
  Json config = testing::tiny_model_config({.model_type = family});
  config.update(changes);
  return config.dump();
}

Json spelled(const std::string& family, const Json& changes) {
  return parse_config(changed(family, changes), "config.json").spelled;
}

TEST(Config, text_that_is_no_config_is_refused) {
  expect_text_refused("", Code::kCorrupt, "not valid JSON");
  expect_text_refused("{\"model_type\": \"llama\"", Code::kCorrupt, "not valid JSON");
  expect_text_refused("[]", Code::kCorrupt, "a list where a JSON object");
  expect_text_refused("null", Code::kCorrupt, "null where a JSON object");
  expect_text_refused("{}", Code::kCorrupt, "model_type is missing");
  expect_text_refused(R"({"model_type": 7})", Code::kCorrupt,
                      "model_type is missing or not a string");
  expect_text_refused(R"({"model_type": "gpt2\n"})", Code::kUnsupported,
                      "'gpt2\xEF\xBF\xBD' is not supported: llama, mistral, qwen2");
  expect_text_refused("{\"a\":" + std::string(1'000'000, '['), Code::kCorrupt,
                      "nested deeper than 64");
  expect_text_refused(R"({"model_type": "llama", "x": 1e})", Code::kCorrupt, "not valid JSON");
  expect_text_refused(R"({"model_type": "llama", "x": nan})", Code::kCorrupt, "not valid JSON");
}

TEST(Config, a_long_value_is_cut_between_characters) {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "\xC3\xBC";
  expect_text_refused(changed("llama", {{"num_hidden_layers", text}}), Code::kCorrupt,
                      "\xC3\xBC...");
}

TEST(Config, absurd_numbers_are_refused_at_once) {
  for (const Json& bad : {Json(-1), Json(0), Json(1'000'000'000), Json("2"), Json(2.5), Json(true),
                          Json::array({2}), Json(18446744073709551615ULL)}) {
    expect_text_refused(changed("llama", {{"num_hidden_layers", bad}}), Code::kCorrupt,
                        "num_hidden_layers is ");
    expect_text_refused(changed("llama", {{"hidden_size", bad}}), Code::kCorrupt,
                        "hidden_size is ");
    expect_text_refused(changed("llama", {{"vocab_size", bad}}), Code::kCorrupt, "vocab_size is ");
    expect_text_refused(changed("qwen3_moe", {{"num_experts", bad}}), Code::kCorrupt,
                        "num_experts is ");
    expect_text_refused(changed("qwen2", {{"num_key_value_heads", bad}}), Code::kCorrupt,
                        "num_key_value_heads is ");
    expect_text_refused(changed("qwen3", {{"head_dim", bad}}), Code::kCorrupt, "head_dim is ");
  }
  expect_text_refused(changed("llama", {{"hidden_size", Json()}}), Code::kCorrupt,
                      "hidden_size is missing");
  expect_text_refused(changed("llama", {{"hidden_size", 65}}), Code::kCorrupt,
                      "not a multiple of num_attention_heads");
  expect_text_refused(changed("qwen3_moe", {{"mlp_only_layers", {2}}}), Code::kCorrupt,
                      "mlp_only_layers is 2");
  expect_text_refused(changed("qwen3_moe", {{"mlp_only_layers", "all"}}), Code::kCorrupt,
                      "mlp_only_layers is \"all\"");
  expect_text_refused(changed("qwen3_moe", {{"decoder_sparse_step", 0}}), Code::kCorrupt,
                      "decoder_sparse_step is 0");
  expect_text_refused(changed("qwen3_moe", {{"num_local_experts", 5}}), Code::kCorrupt,
                      "must agree");
  expect_text_refused(changed("llama", {{"tie_word_embeddings", "yes"}}), Code::kCorrupt,
                      "tie_word_embeddings is \"yes\"");
  expect_text_refused(changed("llama", {{"rope_theta", -1}}), Code::kCorrupt, "rope_theta is -1");
  expect_text_refused(changed("llama", {{"rope_scaling", 4}}), Code::kCorrupt, "rope_scaling is 4");
  std::string big = changed("llama", Json::object());
  big.insert(1, R"("num_hidden_layers_": 1, "head_dim": 123456789012345678901234567890,)");
  expect_text_refused(big, Code::kCorrupt, "head_dim is an integer beyond 64 bits");
}

TEST(Config, sources_that_are_already_quantized_are_refused) {
  expect_text_refused(changed("llama", {{"quantization", {{"bits", 4}}}}), Code::kUnsupported,
                      "already quantized (key quantization)");
  expect_text_refused(changed("llama", {{"quantization_config", {{"quant_method", "fp8"}}}}),
                      Code::kUnsupported, "already quantized with fp8");
  EXPECT_EQ(
      parse_config(changed("llama", {{"quantization_config", Json()}}), "f").model.layers.size(),
      2U);
}

TEST(Config, what_mlx_lm_would_compute_otherwise_is_refused) {
  expect_text_refused(changed("llama", {{"hidden_act", "gelu"}}), Code::kUnsupported,
                      "hidden_act is \"gelu\"");
  expect_text_refused(changed("qwen3", {{"attention_bias", true}}), Code::kUnsupported,
                      "attention_bias is true");
  expect_text_refused(changed("qwen2_moe", {{"norm_topk_prob", true}}), Code::kUnsupported,
                      "norm_topk_prob is true");
  expect_text_refused(changed("qwen2_moe", {{"mlp_only_layers", {0}}}), Code::kUnsupported,
                      "some layers dense");
  expect_text_refused(
      changed("qwen2_moe", {{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}}}),
      Code::kUnsupported, "rope_type is \"yarn\"");
  expect_text_refused(changed("llama", {{"rope_traditional", true}}), Code::kUnsupported,
                      "rope_traditional is true");
  EXPECT_NO_THROW(parse_config(changed("llama", {{"hidden_act", "swish"}}), "m/config.json"));
  expect_text_refused(changed("qwen2", {{"partial_rotary_factor", 0.5}}), Code::kUnsupported,
                      "partial_rotary_factor is 0.5");
  expect_text_refused(changed("llama", {{"rope_parameters", {{"partial_rotary_factor", 0.25}}}}),
                      Code::kUnsupported, "partial_rotary_factor is 0.25");
  expect_text_refused(changed("mixtral", {{"head_dim", 128}}), Code::kUnsupported,
                      "head_dim 128 with 2 heads");
  expect_text_refused(changed("llama", {{"rope_scaling", {{"rope_type", "new"}}}}),
                      Code::kUnsupported, "rope_type is \"new\"");
  expect_text_refused(
      changed("llama", {{"rope_parameters", {{"full_attention", {{"rope_theta", 1}}}}}}),
      Code::kUnsupported, "by kind of layer ('full_attention')");
}

TEST(Config, both_spellings_become_the_same_union) {
  for (const std::string family :
       {"llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "qwen2_moe", "mixtral"}) {
    SCOPED_TRACE(family);
    Json hub = testing::tiny_model_config({.model_type = family});
    Json other =
        testing::tiny_model_config({.model_type = family, .spelling = Spelling::kTransformers5});
    ASSERT_NE(hub, other);
    hub = parse_config(hub.dump(), "f").spelled;
    other = parse_config(other.dump(), "f").spelled;
    for (Json* config : {&hub, &other}) {
      config->erase("dtype");
      config->erase("torch_dtype");
    }
    EXPECT_EQ(hub, other);
    EXPECT_EQ(hub["rope_theta"], 500000.0);
    EXPECT_EQ(hub["rope_scaling"], nullptr);
    EXPECT_EQ(hub["rope_parameters"], (Json{{"rope_theta", 500000.0}, {"rope_type", "default"}}));
    // Read again, the union does not change.
    EXPECT_EQ(parse_config(hub.dump(), "f").spelled, hub);
  }
}

TEST(Config, numbers_without_end_are_read_as_python_reads_them) {
  std::string text = testing::tiny_model_config({}).dump();
  text.pop_back();
  const std::string more = R"(, "limits": [0.0, Infinity, {"least": -Infinity}], "x": NaN})";
  const Json read = parse_config(text + more, "m/config.json").spelled;
  EXPECT_EQ(read["limits"][1], (Json{{"__float__", "Infinity"}}));
  EXPECT_EQ(read["limits"][2]["least"], (Json{{"__float__", "-Infinity"}}));
  EXPECT_EQ(read["x"], (Json{{"__float__", "NaN"}}));
  EXPECT_EQ(parse_config(render_json(read), "m/config.json").spelled, read);
  // A number that is used must be finite.
  for (const char* key : {"rope_theta", "rms_norm_eps", "hidden_size", "num_hidden_layers"}) {
    for (const char* value : {"NaN", "Infinity", "1e999"}) {
      const std::string bad = fmt::format(R"(, "{}": {}}})", key, value);
      expect_text_refused(text + bad, Code::kCorrupt,
                          fmt::format("{} is {}", key, *value == 'N' ? "NaN" : "Infinity"));
    }
  }
}

TEST(Config, rope_scaling_is_written_where_each_program_looks) {
  const Json hub = {{"rope_type", "llama3"},
                    {"factor", 8.0},
                    {"low_freq_factor", 1.0},
                    {"high_freq_factor", 4.0},
                    {"original_max_position_embeddings", 8192}};
  Json packed = hub;
  packed["rope_theta"] = 500000.0;
  Json scaling = hub;
  scaling["type"] = "llama3";
  const Json from_hub = spelled("llama", {{"rope_scaling", hub}});
  Json config = testing::tiny_model_config({.spelling = Spelling::kTransformers5});
  config["rope_parameters"] = packed;
  const Json from_packed = parse_config(config.dump(), "f").spelled;
  for (const Json& result : {from_hub, from_packed}) {
    EXPECT_EQ(result["rope_theta"], 500000.0);
    EXPECT_EQ(result["rope_scaling"], scaling);
    EXPECT_EQ(result["rope_parameters"], packed);
  }
  // The old key alone, and the length that the two programs would take from different places.
  const Json old = spelled("llama", {{"rope_scaling", {{"type", "yarn"}, {"factor", 2.0}}}});
  EXPECT_EQ(old["rope_parameters"]["rope_type"], "yarn");
  EXPECT_EQ(old["rope_scaling"]["original_max_position_embeddings"], 512);
}

TEST(Config, what_the_config_leaves_open_is_written_out) {
  Json config = testing::tiny_model_config({.model_type = "qwen3_moe", .experts = 12});
  for (const char* key :
       {"rope_theta", "rope_scaling", "head_dim", "norm_topk_prob", "mlp_only_layers",
        "decoder_sparse_step", "num_experts_per_tok", "rms_norm_eps"}) {
    config.erase(key);
  }
  config["num_key_value_heads"] = nullptr;
  const Json result = parse_config(config.dump(), "f").spelled;
  EXPECT_EQ(result["rope_theta"], 10000.0);
  EXPECT_EQ(result["head_dim"], 32);
  EXPECT_EQ(result["norm_topk_prob"], false);
  EXPECT_EQ(result["mlp_only_layers"], Json::array());
  EXPECT_EQ(result["decoder_sparse_step"], 1);
  EXPECT_EQ(result["num_experts_per_tok"], 8);
  EXPECT_EQ(result["rms_norm_eps"], 1e-06);
  EXPECT_EQ(result["num_key_value_heads"], 2);
  EXPECT_EQ(result["num_local_experts"], 12);
  EXPECT_EQ(result["num_experts"], 12);
}

TEST(Config, numbers_come_out_as_they_went_in) {
  const std::string text =
      "{\n    \"big\": 123456789012345678901234567890,\n    \"eps\": 1e-06,\n"
      "    \"list\": [\n        1,\n        -2.5\n    ],\n    \"none\": null,\n"
      "    \"same\": 18446744073709551615,\n    \"theta\": 1000000.0,\n"
      "    \"void\": [],\n    \"word\": \"\xc3\xa4 \\\"\"\n}\n";
  EXPECT_EQ(render_json(parse_json(text, "f")), text);
  EXPECT_EQ(render_json(parse_json("{\"b\":1,\"a\":{}}", "f")),
            "{\n    \"a\": {},\n    \"b\": 1\n}\n");
}

TEST(Config, kept_corrupt_inputs_are_refused) {
  testing::replay_corrupt_inputs("config", [](const std::string& text) {
    const Json config = parse_config(text, "config.json").spelled;
    EXPECT_EQ(parse_config(render_json(config), "config.json").spelled, config);
  });
}

/// A checkpoint of a tiny model, and its units' formats set by a rule.
struct Rendered {
  Json json;
  std::string text;
};

template <typename Rule>
Rendered render(const TinyModel& model, DType dtype, const Rule& rule) {
  const TempFolder folder;
  testing::write_tiny_model(folder / "tiny", model);
  const Checkpoint checkpoint = Checkpoint::open((folder / "tiny").string());
  std::vector<std::optional<AffineFormat>> formats;
  formats.reserve(checkpoint.units.size());
  for (const Unit& unit : checkpoint.units) formats.push_back(rule(unit));
  const std::string text = render_config(checkpoint, formats, dtype);
  EXPECT_EQ(text, render_config(checkpoint, formats, dtype));
  return {Json::parse(text), text};
}

TEST(RenderConfig, every_module_that_mlx_lm_could_quantize_has_its_entry) {
  const AffineFormat four = {.bits = 4, .group_size = 64};
  const AffineFormat six = {.bits = 6, .group_size = 32};
  const Rendered rendered = render({.model_type = "qwen3_moe"}, DType::kBF16,
                                   [&](const Unit& unit) -> std::optional<AffineFormat> {
                                     if (!unit.quantizable || unit.role == Role::kRouter)
                                       return std::nullopt;
                                     return unit.role == Role::kExpert ? six : four;
                                   });
  const Json& q = rendered.json["quantization"];
  EXPECT_EQ(q, rendered.json["quantization_config"]);
  EXPECT_EQ(q["bits"], 4);
  EXPECT_EQ(q["group_size"], 64);
  EXPECT_EQ(q["mode"], "affine");
  EXPECT_EQ(q["model.layers.1.mlp.gate"], false);
  EXPECT_EQ(q["model.layers.1.mlp.switch_mlp.up_proj"],
            (Json{{"bits", 6}, {"group_size", 32}, {"mode", "affine"}}));
  EXPECT_EQ(q["lm_head"], (Json{{"bits", 4}, {"group_size", 64}, {"mode", "affine"}}));
  // 3 top-level keys; embedding, head; per layer 4 of attention, the router, 3 of experts.
  EXPECT_EQ(q.size(), 3U + 2 + 2 * 8);
  EXPECT_FALSE(q.contains("model.norm"));
}

TEST(RenderConfig, an_unquantized_model_says_nothing_of_quantization) {
  const Rendered rendered =
      render({}, DType::kF16, [](const Unit&) { return std::optional<AffineFormat>(); });
  EXPECT_FALSE(rendered.json.contains("quantization"));
  EXPECT_FALSE(rendered.json.contains("quantization_config"));
  EXPECT_EQ(rendered.json["torch_dtype"], "float16");
  EXPECT_EQ(rendered.json["dtype"], "float16");
  EXPECT_EQ(rendered.json["tie_word_embeddings"], false);
  EXPECT_EQ(rendered.text.back(), '\n');
  EXPECT_THAT(rendered.text, HasSubstr("    \"rms_norm_eps\": 1e-06,\n"));
}

}  // namespace
}  // namespace ram
