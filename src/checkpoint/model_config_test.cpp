// Values for the forward pass, family by family, compared with those of transformers 5.23 (its
// configuration classes, loaded with the same config.json, gave the values below).
#include "ram/model_config.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/checkpoint.h"
#include "ram/error.h"
#include "ram/file.h"

#include "config.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TempFolder;

ModelConfig parsed(const std::string& family, const Json& changes = Json::object()) {
  Json config = testing::tiny_model_config({.model_type = family, .layers = 4});
  config.update(changes);
  for (const auto& [key, value] : changes.items()) {
    if (value == "absent") config.erase(key);
  }
  return parse_config(config.dump(), "m/config.json").model;
}

void expect_config_refused(const std::string& family, const Json& changes, Code code,
                           const std::string& reason) {
  SCOPED_TRACE(reason);
  try {
    parsed(family, changes);
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(reason));
  }
}

TEST(ModelConfig, sizes_are_the_configs) {
  const ModelConfig llama = parsed("llama");
  EXPECT_EQ(llama.model_type, "llama");
  EXPECT_EQ(llama.hidden, 64);
  ASSERT_EQ(llama.layers.size(), 4U);
  EXPECT_EQ(llama.vocab, 96);
  for (const LayerConfig& layer : llama.layers) {
    EXPECT_EQ(layer.attention.kind, AttentionKind::kGroupedQuery);
    EXPECT_EQ(layer.attention.heads, 2);
    EXPECT_EQ(layer.attention.kv_heads, 1);
    EXPECT_EQ(layer.attention.key_dim, 32);
    EXPECT_EQ(layer.attention.value_dim, 32);
    EXPECT_EQ(layer.attention.rotated, 32);
    EXPECT_FALSE(layer.attention.head_norms);
    EXPECT_EQ(layer.mlp_width, 128);
    EXPECT_FALSE(layer.experts);
  }
  EXPECT_EQ(llama.max_positions, 512);
  EXPECT_EQ(llama.rms_norm_eps, 1e-6);
  EXPECT_EQ(parsed("qwen3", {{"head_dim", 48}}).layer(0).attention.key_dim, 48);
  expect_config_refused("llama", {{"num_attention_heads", 4}, {"num_key_value_heads", 3}},
                        Code::kCorrupt, "not a multiple of num_key_value_heads 3");
}

TEST(ModelConfig, experts_are_weighed_as_the_family_weighs_them) {
  const ModelConfig qwen3 = parsed("qwen3_moe", {{"mlp_only_layers", {1}}});
  ASSERT_EQ(qwen3.layers.size(), 4U);
  for (int layer = 0; layer < 4; ++layer) {
    EXPECT_EQ(qwen3.layer(layer).experts.has_value(), layer != 1);
    EXPECT_EQ(qwen3.layer(layer).mlp_width, layer == 1 ? 128 : 0);
  }
  const ExpertConfig experts = *qwen3.layer(0).experts;
  EXPECT_EQ(experts.count, 4);
  EXPECT_EQ(experts.per_token, 2);
  EXPECT_EQ(experts.width, 64);
  EXPECT_EQ(experts.shared_width, 0);
  EXPECT_EQ(experts.routing, ExpertRouting::kSoftmaxThenTopK);
  EXPECT_TRUE(experts.renormalise);
  const auto renormalises = [](const Json& changes) {
    return parsed("qwen3_moe", changes).layer(3).experts->renormalise;
  };
  EXPECT_FALSE(renormalises({{"norm_topk_prob", false}}));
  EXPECT_FALSE(renormalises({{"norm_topk_prob", "absent"}}));

  const LayerConfig qwen2 = parsed("qwen2_moe").layer(1);
  EXPECT_EQ(qwen2.experts->width, 64);
  EXPECT_EQ(qwen2.experts->shared_width, 128);
  EXPECT_EQ(qwen2.mlp_width, 0);
  EXPECT_FALSE(qwen2.experts->renormalise);

  const LayerConfig mixtral = parsed("mixtral").layer(2);
  EXPECT_EQ(mixtral.experts->width, 128);
  EXPECT_EQ(mixtral.mlp_width, 0);
  EXPECT_EQ(mixtral.experts->routing, ExpertRouting::kTopKThenSoftmax);
  EXPECT_TRUE(mixtral.experts->renormalise);
  EXPECT_EQ(mixtral.experts->per_token, 2);
  expect_config_refused("mixtral", {{"num_experts_per_tok", 5}}, Code::kCorrupt,
                        "num_experts_per_tok is 5");
  expect_config_refused("qwen3_moe", {{"num_experts_per_tok", 0}}, Code::kCorrupt,
                        "num_experts_per_tok is 0");
}

TEST(ModelConfig, windows_are_those_of_transformers) {
  const auto windows = [](const std::string& family, const Json& changes) {
    std::vector<int64_t> found;
    for (const LayerConfig& layer : parsed(family, changes).layers) {
      found.push_back(layer.attention.window);
    }
    return found;
  };
  const auto none = ElementsAre(0, 0, 0, 0);
  const Json used = {{"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", 2}};
  EXPECT_THAT(windows("llama", {{"sliding_window", 8}}), none);
  // mistral: always, and 4096 by default.
  EXPECT_THAT(windows("mistral", {{"sliding_window", 8}}), ElementsAre(8, 8, 8, 8));
  EXPECT_THAT(windows("mistral", {{"sliding_window", nullptr}}), none);
  EXPECT_THAT(windows("mistral", Json::object()), ElementsAre(4096, 4096, 4096, 4096));
  EXPECT_THAT(windows("mixtral", {{"sliding_window", 8}}), ElementsAre(8, 8, 8, 8));
  EXPECT_THAT(windows("mixtral", Json::object()), none);
  for (const std::string family : {"qwen2", "qwen3"}) {
    EXPECT_THAT(windows(family, used), ElementsAre(0, 0, 8, 8));
    EXPECT_THAT(windows(family, {{"sliding_window", 8}, {"max_window_layers", 2}}), none);
    EXPECT_THAT(windows(family, {{"use_sliding_window", true}}), none);  // from layer 28 on
    EXPECT_THAT(windows(family, {{"use_sliding_window", true}, {"max_window_layers", 0}}),
                ElementsAre(4096, 4096, 4096, 4096));
    EXPECT_THAT(windows(family, {{"use_sliding_window", true}, {"sliding_window", nullptr}}), none);
    Json by_layer = used;
    by_layer["layer_types"] = {"sliding_attention", "full_attention", "full_attention",
                               "sliding_attention"};
    EXPECT_THAT(windows(family, by_layer), ElementsAre(8, 0, 0, 8));
  }
  // qwen3_moe uses neither max_window_layers nor layer_types.
  EXPECT_THAT(windows("qwen3_moe", used), ElementsAre(8, 8, 8, 8));
  EXPECT_THAT(windows("qwen3_moe", {{"sliding_window", 8}}), none);
  // qwen2_moe: every other layer below max_window_layers.
  EXPECT_THAT(windows("qwen2_moe", used), ElementsAre(8, 0, 0, 0));
  EXPECT_THAT(windows("qwen2_moe", {{"use_sliding_window", true}}), ElementsAre(4096, 0, 4096, 0));
  EXPECT_THAT(windows("qwen2_moe", {{"sliding_window", 8}}), none);
}

TEST(ModelConfig, windows_that_make_no_sense_are_refused) {
  const Json slides = {"sliding_attention", "full_attention", "full_attention", "full_attention"};
  expect_config_refused("mistral", {{"sliding_window", 0}}, Code::kCorrupt, "sliding_window is 0");
  expect_config_refused("qwen2", {{"layer_types", slides}}, Code::kCorrupt, "give no window");
  expect_config_refused("qwen2", {{"layer_types", {"full_attention"}}}, Code::kCorrupt,
                        "not a list of 4 layers");
  expect_config_refused("qwen3", {{"use_sliding_window", 1}}, Code::kCorrupt,
                        "use_sliding_window is 1");
  Json chunked = slides;
  chunked[1] = "chunked_attention";
  expect_config_refused(
      "qwen2", {{"layer_types", chunked}, {"use_sliding_window", true}, {"sliding_window", 8}},
      Code::kUnsupported, "layer_types has \"chunked_attention\"");
}

TEST(ModelConfig, heads_are_normed_where_the_family_norms_them) {
  for (const std::string family : {"qwen3", "qwen3_moe"}) {
    EXPECT_TRUE(parsed(family).layer(3).attention.head_norms) << family;
  }
  for (const std::string family : {"llama", "mistral", "qwen2", "qwen2_moe", "mixtral"}) {
    EXPECT_FALSE(parsed(family).layer(0).attention.head_norms) << family;
  }
}

RopeConfig rope_of(const std::string& family, const Json& changes) {
  const ModelConfig config = parsed(family, changes);
  for (const LayerConfig& layer : config.layers) {
    EXPECT_EQ(layer.attention.rope, config.layer(0).attention.rope);
  }
  return config.layer(0).attention.rope;
}

TEST(ModelConfig, rope_is_read_from_either_spelling) {
  const Json linear = {{"type", "linear"}, {"factor", 2.5}};
  const RopeConfig hub = rope_of("qwen2", {{"rope_scaling", linear}});
  EXPECT_EQ(hub.type, RopeType::kLinear);
  EXPECT_EQ(hub.factor, 2.5);
  EXPECT_EQ(hub.theta, 500000);
  const RopeConfig other = rope_of(
      "qwen2",
      {{"rope_theta", "absent"},
       {"rope_scaling", "absent"},
       {"rope_parameters", {{"rope_type", "linear"}, {"factor", 2.5}, {"rope_theta", 250000}}}});
  EXPECT_EQ(other.type, RopeType::kLinear);
  EXPECT_EQ(other.factor, 2.5);
  EXPECT_EQ(other.theta, 250000);
  const RopeConfig plain = rope_of("llama", {{"rope_theta", "absent"}});
  EXPECT_EQ(plain.type, RopeType::kDefault);
  EXPECT_EQ(plain.theta, 10000);
  EXPECT_EQ(rope_of("mixtral", {{"rope_theta", "absent"}}).theta, 1000000);
}

TEST(ModelConfig, each_rope_type_has_its_parameters) {
  const auto rope = [](const Json& scaling) {
    return rope_of("llama", {{"rope_scaling", scaling}});
  };
  const RopeConfig llama3 = rope({{"rope_type", "llama3"},
                                  {"factor", 8},
                                  {"low_freq_factor", 1.5},
                                  {"high_freq_factor", 5.0},
                                  {"original_max_position_embeddings", 8192}});
  EXPECT_EQ(llama3.type, RopeType::kLlama3);
  EXPECT_EQ(llama3.factor, 8);
  EXPECT_EQ(llama3.low_freq_factor, 1.5);
  EXPECT_EQ(llama3.high_freq_factor, 5);
  EXPECT_EQ(llama3.original_max_positions, 8192);

  const RopeConfig yarn = rope({{"rope_type", "yarn"}, {"factor", 4.0}});
  EXPECT_EQ(yarn.type, RopeType::kYarn);
  EXPECT_EQ(yarn.original_max_positions, 512);  // max_position_embeddings
  EXPECT_EQ(yarn.beta_fast, 32);
  EXPECT_EQ(yarn.beta_slow, 1);
  EXPECT_FALSE(yarn.attention_factor || yarn.mscale || yarn.mscale_all_dim);
  EXPECT_TRUE(yarn.truncate);
  const RopeConfig full = rope({{"rope_type", "yarn"},
                                {"factor", nullptr},
                                {"original_max_position_embeddings", 128},
                                {"beta_fast", 16},
                                {"beta_slow", 0},
                                {"attention_factor", 1.25},
                                {"mscale", 0.7},
                                {"mscale_all_dim", 0},
                                {"truncate", false}});
  EXPECT_EQ(full.factor, 4);  // 512 / 128
  EXPECT_EQ(full.beta_fast, 16);
  EXPECT_EQ(full.beta_slow, 1);  // 0 counts as absent
  EXPECT_EQ(full.attention_factor, 1.25);
  EXPECT_EQ(full.mscale, 0.7);
  EXPECT_FALSE(full.mscale_all_dim);
  EXPECT_FALSE(full.truncate);

  EXPECT_EQ(rope({{"rope_type", "dynamic"}, {"factor", 2.0}}).type, RopeType::kDynamic);
  const Json ones = Json::array({1, 1});
  const RopeConfig longrope = rope({{"rope_type", "longrope"},
                                    {"original_max_position_embeddings", 128},
                                    {"short_factor", ones},
                                    {"long_factor", ones}});
  EXPECT_EQ(longrope.type, RopeType::kLongrope);
  EXPECT_EQ(longrope.factor, 4);

  // Values beside the parameters take precedence over those in them.
  EXPECT_EQ(
      rope_of(
          "llama",
          {{"rope_scaling",
            {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 128}}},
           {"original_max_position_embeddings", 64}})
          .original_max_positions,
      64);
  for (const std::string type : {"linear", "llama3", "dynamic"}) {
    expect_config_refused("llama", {{"rope_scaling", {{"rope_type", type}}}}, Code::kCorrupt,
                          "factor is missing");
    expect_config_refused("llama", {{"rope_scaling", {{"rope_type", type}, {"factor", 0}}}},
                          Code::kCorrupt, "factor is 0");
  }
}

TEST(ModelConfig, what_is_not_said_is_transformers_default) {
  const auto eps = [](const std::string& family) {
    return parsed(family, {{"rms_norm_eps", "absent"}}).rms_norm_eps;
  };
  EXPECT_EQ(eps("llama"), 1e-6);
  EXPECT_EQ(eps("qwen3_moe"), 1e-6);
  EXPECT_EQ(eps("mixtral"), 1e-5);
  EXPECT_EQ(parsed("qwen2", {{"max_position_embeddings", "absent"}}).max_positions, 32768);
  expect_config_refused("llama", {{"rms_norm_eps", "small"}}, Code::kCorrupt,
                        "rms_norm_eps is \"small\"");
  expect_config_refused("llama", {{"rms_norm_eps", -1}}, Code::kCorrupt, "rms_norm_eps is -1");
}

TEST(ModelConfig, special_ids_are_one_many_or_none) {
  const auto eos = [](const std::string& family, const Json& value) {
    return parsed(family, {{"eos_token_id", value}}).eos_ids;
  };
  EXPECT_THAT(eos("llama", 7), ElementsAre(7));
  EXPECT_THAT(eos("llama", {7, 9}), ElementsAre(7, 9));
  EXPECT_THAT(eos("llama", nullptr), IsEmpty());
  EXPECT_THAT(eos("llama", -1), IsEmpty());
  EXPECT_THAT(eos("llama", "absent"), ElementsAre(2));
  EXPECT_THAT(eos("qwen2", "absent"), IsEmpty());
  EXPECT_EQ(parsed("llama", {{"bos_token_id", "absent"}}).bos_id, 1);
  EXPECT_EQ(parsed("llama", {{"bos_token_id", nullptr}}).bos_id, std::nullopt);
  EXPECT_EQ(parsed("qwen3", {{"bos_token_id", "absent"}}).bos_id, std::nullopt);
  EXPECT_EQ(parsed("qwen3", {{"bos_token_id", 5}}).bos_id, 5);
  expect_config_refused("llama", {{"eos_token_id", {{"id", 2}}}}, Code::kCorrupt,
                        "eos_token_id is ");
  expect_config_refused("llama", {{"eos_token_id", {1, "2"}}}, Code::kCorrupt,
                        "eos_token_id is \"2\"");
}

TEST(ModelConfig, the_files_decide_what_the_config_leaves_to_them) {
  const auto open = [](const testing::TinyModel& model, const std::string& generation) {
    const TempFolder folder;
    testing::write_tiny_model(folder / "tiny", model);
    write_file_atomic(folder / "tiny" / "generation_config.json", generation);
    return Checkpoint::open((folder / "tiny").string()).config;
  };
  EXPECT_THAT(open({}, R"({"eos_token_id": [5, 6]})").eos_ids, ElementsAre(5, 6));
  EXPECT_THAT(open({}, R"({"temperature": 0.6})").eos_ids, ElementsAre(2));
  EXPECT_FALSE(open({}, "{}").tied_head);
  EXPECT_TRUE(open({.tied = true}, "{}").tied_head);
  EXPECT_THAT(open({}, "{").eos_ids, ElementsAre(2));
  EXPECT_THAT(open({}, "[]").eos_ids, ElementsAre(2));
}

TEST(Checkpoint, names_what_is_at_the_ends_of_the_model) {
  for (const bool tied : {false, true}) {
    const TempFolder folder;
    testing::write_tiny_model(folder / "tiny", {.tied = tied});
    const Checkpoint checkpoint = Checkpoint::open((folder / "tiny").string());
    const auto name = [&](int unit) { return checkpoint.units.at(static_cast<size_t>(unit)).name; };
    EXPECT_EQ(name(checkpoint.embedding), "model.embed_tokens");
    EXPECT_EQ(name(checkpoint.final_norm), "model.norm");
    EXPECT_EQ(name(checkpoint.head), tied ? "model.embed_tokens" : "lm_head");
  }
}

}  // namespace
}  // namespace ram
