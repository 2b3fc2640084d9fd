// A source in FP8 blocks equals the model that it decodes to in every respect.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/build.h"
#include "ram/curve.h"
#include "ram/error.h"
#include "ram/plan.h"
#include "ram/study.h"

#include "support/fp8_model.h"
#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::TempFolder;
using testing::TinyModel;

/// Sizes that 128 does not divide, and one expert's matrix of several blocks.
TinyModel experts() {
  return {.model_type = "qwen3_moe", .hidden = 192, .layers = 2, .expert_width = 288};
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Fp8Source : public ::testing::Test {
 protected:
  void write(const TinyModel& model, DType scales = DType::kF32) {
    testing::write_fp8_model(folder_ / "fp8", folder_ / "plain", model, scales);
  }

  Checkpoint open(const char* name) { return Checkpoint::open((folder_ / name).string()); }

  ModelCurves curves(const char* name, const char* study, AnalyzeStats* stats = nullptr) {
    Study store(folder_ / study);
    return analyze(open(name), store, {.threads = 2, .keep_every_s = 0}, {}, stats);
  }

  std::string refusal() {
    try {
      open("fp8");
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  void change_config(const nlohmann::json& settings) {
    nlohmann::json config = parse_json(text_of(folder_ / "fp8/config.json"), "config.json");
    config["quantization_config"] = settings;
    write_file_atomic(folder_ / "fp8/config.json", config.dump());
  }

  TempFolder folder_;
};

TEST_F(Fp8Source, HasTheUnitsAndTheRowsThatItDecodesTo) {
  for (const DType scales : {DType::kF32, DType::kBF16}) {
    for (const TinyModel& model : {TinyModel{.hidden = 320, .intermediate = 200}, experts()}) {
      write(model, scales);
      const Checkpoint fp8 = open("fp8");
      const Checkpoint plain = open("plain");
      ASSERT_EQ(fp8.units.size(), plain.units.size());
      EXPECT_EQ(fp8.weights(), plain.weights());
      EXPECT_LT(fp8.bytes(), plain.bytes());
      int64_t stored = 0;
      for (const SourceTensor& tensor : fp8.tensors) stored += tensor.info.bytes();
      EXPECT_EQ(fp8.bytes(), stored);
      for (size_t u = 0; u < plain.units.size(); ++u) {
        const Unit& a = plain.units[u];
        const Unit& b = fp8.units[u];
        EXPECT_EQ(b.shape, a.shape);
        EXPECT_EQ(b.dtype, DType::kBF16);
        ASSERT_EQ(b.parts.size(), a.parts.size());
        std::vector<std::byte> one(static_cast<size_t>(a.part_weights() * 2));
        std::vector<std::byte> two(one.size());
        for (int part = 0; part < std::ssize(a.parts); ++part) {
          plain.read_rows(a, part, 0, a.rows, one.data());
          fp8.read_rows(b, part, 0, b.rows, two.data());
          EXPECT_TRUE(one == two) << a.name << " " << part;
        }
      }
    }
  }
}

TEST_F(Fp8Source, HasTheCurvesThatItDecodesTo) {
  write(experts());
  const ModelCurves fp8 = curves("fp8", "one.db");
  const ModelCurves plain = curves("plain", "two.db");
  EXPECT_NE(fp8.fingerprint, plain.fingerprint);
  ASSERT_EQ(fp8.units.size(), plain.units.size());
  for (size_t u = 0; u < plain.units.size(); ++u) {
    EXPECT_EQ(fp8.units[u].formats, plain.units[u].formats);
    ASSERT_EQ(fp8.units[u].parts.size(), plain.units[u].parts.size());
    for (size_t p = 0; p < plain.units[u].parts.size(); ++p) {
      const Distortion& a = fp8.units[u].parts[p];
      const Distortion& b = plain.units[u].parts[p];
      EXPECT_GT(b.sum_squares, 0);
      EXPECT_NEAR(a.sum_squares, b.sum_squares, 1e-8 * b.sum_squares);
      for (size_t f = 0; f < kFormatCount; ++f) {
        EXPECT_NEAR(a.squared_error[f], b.squared_error[f], 1e-8 * b.squared_error[f]);
      }
    }
  }
}

TEST_F(Fp8Source, IsKnownByTheContentOfWeightsAndScales) {
  write({});
  AnalyzeStats stats;
  const ModelCurves first = curves("fp8", "study.db", &stats);
  EXPECT_GT(stats.tensors_measured, 0);
  curves("fp8", "study.db", &stats);
  EXPECT_EQ(stats.tensors_measured, 0);
  EXPECT_EQ(stats.bytes_read, 0);

  // One scale is doubled: the codes are the same, but their curve is another.
  const Checkpoint checkpoint = open("fp8");
  std::string text = text_of(folder_ / "fp8/model.safetensors");
  for (const SourceTensor& tensor : checkpoint.tensors) {
    if (tensor.info.name != "model.layers.0.mlp.up_proj.weight_scale_inv") continue;
    float scale = 0;
    std::memcpy(&scale, text.data() + tensor.info.begin, 4);
    scale *= 2;
    std::memcpy(text.data() + tensor.info.begin, &scale, 4);
  }
  write_file_atomic(folder_ / "fp8/model.safetensors", text);
  const ModelCurves second = curves("fp8", "study.db", &stats);
  EXPECT_EQ(stats.tensors_measured, 1);
  EXPECT_NE(second.fingerprint, first.fingerprint);
  for (size_t u = 0; u < first.units.size(); ++u) {
    const bool changed = checkpoint.units[u].name == "model.layers.0.mlp.up_proj";
    const double before = first.units[u].pooled.sum_squares;
    EXPECT_EQ(second.units[u].pooled.sum_squares != before, changed) << checkpoint.units[u].name;
  }
}

TEST_F(Fp8Source, IsBuiltToTheBytesOfWhatItDecodesTo) {
  write(experts());
  const auto compress = [&](const char* name) {
    const fs::path out = folder_ / (std::string("out-") + name);
    const Checkpoint checkpoint = open(name);
    Study study(folder_ / (std::string(name) + ".db"));
    const ModelCurves found = analyze(checkpoint, study, {});
    PlanRequest request;
    request.uniform = AffineFormat{.bits = 4, .group_size = 32};
    build_folder(checkpoint, make_plan({checkpoint, found, nullptr}, request).plan.value(), study,
                 out, {});
    return text_of(out / "model.safetensors") + text_of(out / "config.json");
  };
  const std::string fp8 = compress("fp8");
  EXPECT_FALSE(fp8.empty());
  EXPECT_TRUE(fp8 == compress("plain"));
}

TEST_F(Fp8Source, WhatDecodesToNoNumberIsNamed) {
  write({});
  std::string text = text_of(folder_ / "fp8/model.safetensors");
  for (const SourceTensor& tensor : open("fp8").tensors) {
    if (tensor.info.name != "model.layers.1.self_attn.v_proj.weight") continue;
    text[static_cast<size_t>(tensor.info.begin + 64 * 3 + 5)] = 0x7f;
  }
  write_file_atomic(folder_ / "fp8/model.safetensors", text);
  try {
    curves("fp8", "study.db");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kCorrupt);
    EXPECT_THAT(error.what(), HasSubstr("model.layers.1.self_attn.v_proj: row 3, column 5"));
  }
}

TEST_F(Fp8Source, OtherSettingsOfFp8AreRefused) {
  write({});
  EXPECT_EQ(refusal(), "");
  const nlohmann::json good = {{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}};
  change_config(good);
  EXPECT_EQ(refusal(), "");
  for (const nlohmann::json& bad : {nlohmann::json{{"weight_block_size", {64, 128}}},
                                    nlohmann::json{{"weight_block_size", nullptr}},
                                    nlohmann::json{{"activation_scheme", "static"}},
                                    nlohmann::json{{"quant_method", "fbgemm_fp8"}}}) {
    nlohmann::json settings = good;
    settings.update(bad);
    change_config(settings);
    EXPECT_THAT(refusal(), HasSubstr("already quantized with ")) << bad.dump();
  }
  change_config(nullptr);
  EXPECT_THAT(refusal(), HasSubstr("weight_scale_inv shows that the model is already quantized"));
}

}  // namespace
}  // namespace ram
