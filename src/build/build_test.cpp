// A finished folder: its bytes equal an encoding of whole tensors made here, and do not depend on
// how they were written.
#include "ram/build.h"

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/build_table.h"
#include "ram/progress.h"

#include "test_support.h"

namespace ram::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Tensor name -> its bytes, of all shards of a folder.
std::map<std::string, std::string> tensors_of(const fs::path& folder) {
  std::map<std::string, std::string> tensors;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    const InputFile file(entry.path());
    for (const TensorInfo& info : read_safetensors_header(file).tensors) {
      std::string bytes(static_cast<size_t>(info.bytes()), '\0');
      file.read(info.begin, std::as_writable_bytes(std::span(bytes)));
      EXPECT_TRUE(tensors.emplace(info.name, std::move(bytes)).second) << info.name;
    }
  }
  return tensors;
}

std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The whole source tensor, from the generator rather than from the files.
std::vector<float> values_of(const Made& made, int tensor) {
  const TensorInfo& info = made.checkpoint->tensors[static_cast<size_t>(tensor)].info;
  return tiny_model_values(made.model, {info.name, info.dtype, info.shape});
}

std::string cast(const std::vector<float>& values, DType source, DType dtype) {
  const auto count = static_cast<int64_t>(values.size());
  std::vector<std::byte> stored(values.size() * static_cast<size_t>(dtype_bytes(source)));
  from_f32(values.data(), source, count, stored.data());
  std::vector<float> read(values.size());
  to_f32(stored.data(), source, count, read.data());
  std::vector<std::byte> out(values.size() * static_cast<size_t>(dtype_bytes(dtype)));
  from_f32(read.data(), dtype, count, out.data());
  return as_text(out);
}

/// What the folder must contain, encoded with one call per part.
std::map<std::string, std::string> expected_tensors(const Made& made, const Plan& plan) {
  std::map<std::string, std::string> out;
  for (size_t u = 0; u < plan.units.size(); ++u) {
    const Unit& unit = made.checkpoint->units[u];
    const UnitFormat format = plan.units[u].format;
    for (const Part& part : unit.parts) {
      std::vector<float> values = values_of(made, part.tensor);
      const auto first = values.begin() + part.view.first;
      values = {first, first + unit.part_weights()};
      const std::string plain = cast(values, unit.dtype, plan.dtype);
      if (!format) {
        out[unit.tensor] += plain;
        continue;
      }
      const auto groups = static_cast<size_t>(unit.part_weights() / format->group_size);
      std::vector<uint32_t> codes(static_cast<size_t>(code_words(unit.part_weights(), *format)));
      std::vector<std::byte> scales(groups * static_cast<size_t>(dtype_bytes(plan.dtype)));
      std::vector<std::byte> biases(scales.size());
      affine_encode(reinterpret_cast<const std::byte*>(plain.data()), plan.dtype, unit.rows,
                    unit.cols, *format, plan.dtype, codes.data(), scales.data(), biases.data());
      out[unit.tensor] += as_text(std::as_bytes(std::span(codes)));
      out[unit.name + ".scales"] += as_text(scales);
      out[unit.name + ".biases"] += as_text(biases);
    }
    for (const Carried& carried : unit.carried) {
      const DType source = made.checkpoint->tensors[static_cast<size_t>(carried.tensor)].info.dtype;
      out[carried.name] = cast(values_of(made, carried.tensor), source, plan.dtype);
    }
  }
  return out;
}

void expect_right(const Made& made, const Plan& plan, const fs::path& out) {
  int64_t total = 0;
  for (const auto& [name, text] : contents(out)) total += static_cast<int64_t>(text.size());
  EXPECT_EQ(total, plan.total_bytes);
  const auto found = tensors_of(out);
  const auto expected = expected_tensors(made, plan);
  EXPECT_EQ(found.size(), expected.size());
  for (const auto& [name, bytes] : expected) {
    const auto at = found.find(name);
    ASSERT_NE(at, found.end()) << name;
    EXPECT_TRUE(at->second == bytes) << name;
  }
}

struct Case {
  const char* name;
  TinyModel model;
  DType dtype;
};

class BuildFamilies : public ::testing::TestWithParam<Case> {};

TEST_P(BuildFamilies, EveryTensorIsTheEncodingOfItsSourceAndTheTotalIsThePlans) {
  Made made(GetParam().model, GetParam().dtype);
  const Plan plan = made.plan();
  EXPECT_EQ(made.build(plan, made.root / "out"), BuildOutcome::kWritten);
  expect_right(made, plan, made.root / "out");
  EXPECT_THAT(names_in(made.root.path()),
              ::testing::Not(::testing::Contains(HasSubstr("ram-partial"))));
}

INSTANTIATE_TEST_SUITE_P(
    Families, BuildFamilies,
    ::testing::Values(
        Case{"llama_tied", {.model_type = "llama", .hidden = 128, .tied = true}, DType::kBF16},
        Case{"llama_biases",
             {.model_type = "llama", .hidden = 128, .attention_bias = true, .dtype = DType::kF32},
             DType::kF16},
        Case{
            "qwen2_f16", {.model_type = "qwen2", .hidden = 128, .dtype = DType::kF16}, DType::kF16},
        Case{"qwen3_to_f32", {.model_type = "qwen3", .hidden = 64}, DType::kF32},
        Case{"mistral_from_f32",
             {.model_type = "mistral", .hidden = 128, .dtype = DType::kF32},
             DType::kBF16},
        Case{"qwen3_moe",
             {.model_type = "qwen3_moe", .hidden = 128, .expert_width = 128},
             DType::kBF16},
        Case{"qwen3_moe_packed",
             {.model_type = "qwen3_moe",
              .hidden = 128,
              .expert_width = 64,
              .expert_layout = ExpertLayout::kPacked},
             DType::kBF16},
        Case{"qwen2_moe_shards",
             {.model_type = "qwen2_moe", .hidden = 64, .dtype = DType::kF16, .shards = 3},
             DType::kBF16},
        Case{"mixtral", {.model_type = "mixtral", .hidden = 64}, DType::kBF16}),
    [](const auto& family) { return std::string(family.param.name); });

/// Experts, and an embedding of two blocks.
TinyModel several_blocks() {
  return {.model_type = "qwen3_moe",
          .hidden = 128,
          .layers = 1,
          .vocab = 2100,
          .tied = true,
          .dtype = DType::kF32};
}

TEST(Build, BytesDoNotDependOnTheNumberOfThreads) {
  Made made(several_blocks());
  made.options.max_shard_bytes = 60000;
  const Plan plan = made.plan();
  made.options.threads = 1;
  made.build(plan, made.root / "one");
  const auto one = contents(made.root / "one");
  EXPECT_GT(one.size(), 8U) << "several shards";
  for (const int threads : {2, 5}) {
    made.options.threads = threads;
    const fs::path out = made.root / fmt::format("out{}", threads);
    made.build(plan, out);
    EXPECT_TRUE(contents(out) == one) << threads;
  }
  expect_right(made, plan, made.root / "one");
}

TEST(Build, AUnitTooLargeForOneShardIsCutBetweenItsTensors) {
  Made made(several_blocks());
  made.options.max_shard_bytes = 3000;
  const Plan plan = made.plan();
  made.build(plan, made.root / "out");
  expect_right(made, plan, made.root / "out");
}

TEST(Build, WhatIsThereAlreadyIsNotTouched) {
  Made made({.hidden = 64});
  const Plan plan = made.plan();
  const fs::path out = made.root / "out";
  made.build(plan, out);
  const auto stamp = file_identity(out / "model.safetensors");
  made.options.force = true;
  EXPECT_EQ(made.build(plan, out), BuildOutcome::kAlreadyThere);
  EXPECT_EQ(made.build(plan, out / ""), BuildOutcome::kAlreadyThere);
  EXPECT_EQ(file_identity(out / "model.safetensors"), stamp);
}

TEST(Build, AnotherFolderIsReplacedOnlyWhenForced) {
  Made made({.hidden = 64});
  const Plan first = made.plan(0);
  const Plan second = made.plan(3);
  const fs::path out = made.root / "out";
  made.build(first, out);
  const auto before = contents(out);
  const Error error = error_of([&] { made.build(second, out); });
  EXPECT_EQ(error.code(), Code::kUsage);
  EXPECT_THAT(error.what(), HasSubstr("--force"));
  EXPECT_TRUE(contents(out) == before);
  made.options.force = true;
  EXPECT_EQ(made.build(second, out), BuildOutcome::kWritten);
  expect_right(made, second, out);
  EXPECT_THAT(names_in(made.root.path()), ElementsAre("out", "source", "study"));
}

TEST(Build, APlaceIsRefusedBeforeTheWorkAsItWouldBeAfter) {
  Made made({.hidden = 64});
  const Plan plan = made.plan();
  const auto ask = [&](const fs::path& out, bool force) {
    return check_out_folder(*made.checkpoint, out, force);
  };
  const fs::path out = made.root / "out";
  EXPECT_EQ(ask(out, false), OutState::kNew);
  EXPECT_EQ(ask(out / "", false), OutState::kNew);
  EXPECT_EQ(ask(made.root / "new" / "parents", true), OutState::kNew);
  fs::create_directory(made.root / ".out.ram-partial");
  EXPECT_EQ(ask(out, false), OutState::kBegun);
  made.build(plan, out);
  EXPECT_EQ(ask(out, false), OutState::kThere);
  EXPECT_EQ(ask(out, true), OutState::kThere);

  write_file_atomic(made.root / "file", "mine");
  fs::create_directory(made.root / "folder");
  write_file_atomic(made.root / "folder" / "notes.txt", "mine");
  write_file_atomic(made.root / "folder" / "config.json", "{}");  // not a model on its own
  for (const bool force : {false, true}) {
    made.options.force = force;
    std::vector<fs::path> refused = {made.root / "file", made.source, made.source / "in",
                                     made.root.path(), ""};
    if (force) refused.push_back(made.root / "folder");
    for (const fs::path& place : refused) {
      const Error before = error_of([&] { ask(place, force); });
      EXPECT_EQ(before.code(), Code::kUsage) << place;
      EXPECT_STREQ(before.what(), error_of([&] { made.build(plan, place); }).what()) << place;
    }
  }
}

TEST(Build, AFileTooManyMakesItAnotherFolder) {
  Made made({.hidden = 64});
  const Plan plan = made.plan();
  const fs::path out = made.root / "out";
  made.build(plan, out);
  write_file_atomic(out / "notes.txt", "mine");
  const Error error = error_of([&] { made.build(plan, out); });
  EXPECT_EQ(error.code(), Code::kUsage);
  EXPECT_THAT(error.what(), HasSubstr("notes.txt"));
  EXPECT_EQ(read_text_file(out / "notes.txt", 100), "mine");
}

TEST(Build, MissingParentsAreMade) {
  Made made({.hidden = 64});
  const Plan plan = made.plan();
  made.build(plan, made.root / "a" / "b" / "out");
  expect_right(made, plan, made.root / "a" / "b" / "out");
  EXPECT_THAT(names_in(made.root / "a" / "b"), ElementsAre("out"));
}

TEST(Build, ALinkToAFolderIsFollowed) {
  Made made({.hidden = 64});
  const Plan plan = made.plan();
  fs::create_directory(made.root / "real");
  fs::create_directory_symlink(made.root / "real", made.root / "link");
  made.build(plan, made.root / "link" / "out");
  expect_right(made, plan, made.root / "real" / "out");
}

TEST(Build, TheStudyKnowsTheFilesOfABuild) {
  Made made({.hidden = 64});
  const Plan plan = made.plan();
  made.build(plan, made.root / "out");
  const auto record = BuildTable(*made.study).find(hash_text(render_plan(plan)));
  ASSERT_TRUE(record);
  EXPECT_EQ(record->fingerprint, plan.fingerprint);
  for (const auto& [name, text] : contents(made.root / "out")) {
    EXPECT_TRUE(record->file_hashes.contains(name)) << name;
  }
}

TEST(Build, ProgressEndsAtItsTotal) {
  Made made(several_blocks());
  Progress last;
  int64_t before = 0;
  made.build(made.plan(), made.root / "out", [&](const Progress& progress) {
    EXPECT_GT(progress.done, before);
    before = progress.done;
    last = progress;
  });
  EXPECT_EQ(last.done, last.total);
  EXPECT_EQ(last.total, made.checkpoint->bytes());
}

}  // namespace
}  // namespace ram::testing
