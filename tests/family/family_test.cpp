// A family added as docs/architecture.md says: a model of it opens, is planned, built and read, and
// equals the llama model with the same numbers in every respect.
#include <array>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/build.h"
#include "ram/curve.h"
#include "ram/engine.h"
#include "ram/error.h"
#include "ram/plan.h"
#include "ram/study.h"

#include "family/test_families.h"
#include "open_checkpoint.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::TempFolder;
using testing::TinyModel;

constexpr std::array<const Family*, 3> kTable = {&kLlama, &kOtherLlama, &kReshapedLlama};

// Written separately from other_llama.cpp, so that the test checks it independently.
std::string other_name(std::string name) {
  static const std::array<std::pair<std::string, std::string>, 12> kWords = {{
      {"model.layers.", "transformer.h."},
      {"model.embed_tokens", "transformer.wte"},
      {"model.norm", "transformer.ln_f"},
      {"lm_head", "output"},
      {"post_attention_layernorm", "ln_2"},
      {"input_layernorm", "ln_1"},
      {"self_attn.o_proj", "attn.out"},
      {"self_attn.", "attn."},
      {"gate_proj", "gate"},
      {"up_proj", "up"},
      {"down_proj", "down"},
      {"_proj", ""},
  }};
  for (const auto& [from, to] : kWords) {
    const size_t at = name.find(from);
    if (at != std::string::npos) name.replace(at, from.size(), to);
  }
  return name;
}

/// The llama model `model`, and the same numbers under the other family's names.
class OtherFamily : public ::testing::Test {
 protected:
  void write(const TinyModel& model) {
    testing::write_tiny_model(folder_ / "llama", model);
    std::vector<TensorSpec> specs = testing::tiny_model_tensors(model);
    std::map<std::string, TensorSpec> of_name;
    for (TensorSpec& spec : specs) {
      const TensorSpec own = spec;
      spec.name = other_name(spec.name);
      of_name[spec.name] = own;
    }
    testing::write_tiny_model(folder_ / "other", model);
    testing::write_tensors(folder_ / "other/model.safetensors", specs, [&](const TensorSpec& spec) {
      return testing::tiny_model_values(model, of_name.at(spec.name));
    });
    nlohmann::json config = testing::tiny_model_config(model);
    config["model_type"] = "other_llama";
    write_file_atomic(folder_ / "other/config.json", config.dump());
  }

  Checkpoint open(const char* name, FamilyTable known = kTable) {
    return open_checkpoint((folder_ / name).string(), Quantized::kRefuse, known);
  }

  /// Analyzes, plans and builds; @return the weights' bytes and config.json of the finished folder.
  std::pair<std::string, nlohmann::json> compress(const Checkpoint& checkpoint) {
    const fs::path out = folder_ / ("out-" + checkpoint.name);
    Study study(folder_ / ("study-" + checkpoint.name + ".db"));
    const ModelCurves curves = analyze(checkpoint, study, {});
    PlanRequest request;
    request.bits_per_weight = 6;
    const PlanResult result = make_plan({checkpoint, curves, nullptr}, request);
    build_folder(checkpoint, result.plan.value(), study, out, {});
    const auto text = [&](const char* name) {
      std::ifstream file(out / name, std::ios::binary);
      return std::string(std::istreambuf_iterator<char>(file), {});
    };
    return {text("model.safetensors"), parse_json(text("config.json"), "config.json")};
  }

  TempFolder folder_;
};

/// A tensor's shape and elements.
struct Values {
  std::vector<int64_t> shape;
  std::vector<float> floats;
};

/// The tensors of reshaped_llama.cpp, made from llama's one element after another.
std::map<std::string, Values> reshaped(const TinyModel& model) {
  std::map<std::string, Values> from;
  for (const TensorSpec& spec : testing::tiny_model_tensors(model)) {
    from[spec.name] = {spec.shape, testing::tiny_model_values(model, spec)};
  }
  const auto take = [&](const std::string& name) {
    Values values = from.at(name);
    from.erase(name);
    return values;
  };
  for (int64_t l = 0; l < model.layers; ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    const Values gate = take(layer + "mlp.gate_proj.weight");
    const Values up = take(layer + "mlp.up_proj.weight");
    const Values down = take(layer + "mlp.down_proj.weight");
    const auto width = static_cast<size_t>(model.intermediate);
    const auto hidden = static_cast<size_t>(model.hidden);
    Values both = {{model.hidden, 2 * model.intermediate}, {}};
    Values across = {{model.intermediate, model.hidden}, {}};
    for (size_t h = 0; h < hidden; ++h) {
      for (size_t i = 0; i < width; ++i) {
        both.floats.push_back(gate.floats[i * hidden + h]);
        both.floats.push_back(up.floats[i * hidden + h]);
      }
    }
    for (size_t i = 0; i < width; ++i) {
      for (size_t h = 0; h < hidden; ++h) across.floats.push_back(down.floats[h * width + i]);
    }
    Values kv = take(layer + "self_attn.k_proj.weight");
    const Values v = take(layer + "self_attn.v_proj.weight");
    kv.shape[0] *= 2;
    kv.floats.insert(kv.floats.end(), v.floats.begin(), v.floats.end());
    from[layer + "mlp.gate_up"] = std::move(both);
    from[layer + "mlp.down"] = std::move(across);
    from[layer + "self_attn.kv.weight"] = std::move(kv);
  }
  return from;
}

TEST_F(OtherFamily, WithTensorsInOtherShapesIsBuiltToTheSameBytes) {
  const TinyModel model = {.hidden = 96, .intermediate = 160};
  write(model);
  testing::write_tiny_model(folder_ / "reshaped", model);
  const std::map<std::string, Values> values = reshaped(model);
  std::vector<TensorSpec> specs;
  specs.reserve(values.size());
  for (const auto& [name, value] : values) specs.push_back({name, DType::kBF16, value.shape});
  testing::write_tensors(folder_ / "reshaped/model.safetensors", specs,
                         [&](const TensorSpec& spec) { return values.at(spec.name).floats; });
  nlohmann::json config = testing::tiny_model_config(model);
  config["model_type"] = "reshaped_llama";
  write_file_atomic(folder_ / "reshaped/config.json", config.dump());

  const Checkpoint reshaped = open("reshaped");
  EXPECT_TRUE(reshaped.dropped.empty());
  EXPECT_EQ(reshaped.weights(), open("llama").weights());
  EXPECT_TRUE(compress(reshaped).first == compress(open("llama")).first);
}

TEST_F(OtherFamily, HasTheUnitsAndTheRowsOfTheModelThatItIs) {
  write({.layers = 3});
  const Checkpoint llama = open("llama");
  const Checkpoint other = open("other");
  EXPECT_EQ(other.model_type, "other_llama");
  ASSERT_EQ(other.units.size(), llama.units.size());
  EXPECT_EQ(other.weights(), llama.weights());
  for (size_t u = 0; u < llama.units.size(); ++u) {
    const Unit& a = llama.units[u];
    const Unit& b = other.units[u];
    EXPECT_EQ(b.name, a.name);
    EXPECT_EQ(b.role, a.role);
    EXPECT_EQ(b.shape, a.shape);
    std::vector<std::byte> one(static_cast<size_t>(a.weights() * 2));
    std::vector<std::byte> two(one.size());
    llama.read_rows(a, 0, 0, a.rows, one.data());
    other.read_rows(b, 0, 0, b.rows, two.data());
    EXPECT_TRUE(one == two) << a.name;
    EXPECT_EQ(other.tensors[static_cast<size_t>(b.parts[0].tensor)].info.name,
              other_name(a.tensor));
  }
}

TEST_F(OtherFamily, IsPlannedAndBuiltToTheBytesOfTheModelThatItIs) {
  write({});
  const auto [llama, llama_config] = compress(open("llama"));
  auto [other, other_config] = compress(open("other"));
  EXPECT_FALSE(llama.empty());
  EXPECT_TRUE(other == llama);
  EXPECT_EQ(other_config["model_type"], "other_llama");
  EXPECT_EQ(other_config["quantization"], llama_config["quantization"]);
}

TEST_F(OtherFamily, DropsAHeadThatIsTiedAndEqual) {
  TinyModel model = {.tied = false};
  model.edit = [&](const std::string& name, std::vector<float>& values) {
    if (name == "lm_head.weight" || name == "model.embed_tokens.weight") {
      for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 7);
    }
  };
  write(model);
  nlohmann::json config = testing::tiny_model_config(model);
  config["model_type"] = "other_llama";
  config["tie_word_embeddings"] = true;
  write_file_atomic(folder_ / "other/config.json", config.dump());
  const Checkpoint other = open("other");
  EXPECT_TRUE(other.tied_embeddings);
  EXPECT_EQ(other.dropped.size(), 1U);
}

TEST_F(OtherFamily, IsNamedWithWhatIsMissing) {
  write({});
  const auto refusal = [&](FamilyTable known) -> std::string {
    try {
      open("other", known);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal(families()),
              HasSubstr("model_type 'other_llama' is not supported: llama, mistral, qwen2"));
  testing::write_tiny_model(folder_ / "third", {});
  fs::copy_file(folder_ / "third/model.safetensors", folder_ / "other/model.safetensors",
                fs::copy_options::overwrite_existing);
  EXPECT_EQ(refusal(kTable), "") << "files with mlx_lm's names are read too";
  testing::write_tensors(folder_ / "other/model.safetensors", {},
                         [](const TensorSpec&) { return std::vector<float>(); });
  EXPECT_THAT(refusal(kTable), HasSubstr("tensor transformer.wte.weight is missing"));
}

TEST_F(OtherFamily, IsNotRunBeforeItHasAnArchitecture) {
  write({});
  try {
    const LanguageModel model(open("other"), {.threads = 1});
    FAIL() << "was opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("model_type other_llama"));
    EXPECT_THAT(error.what(), HasSubstr("not run"));
  }
}

}  // namespace
}  // namespace ram
