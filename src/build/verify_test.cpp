// verify: a folder as written passes; any later change to it is reported.
#include <fstream>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/build_table.h"
#include "ram/json.h"

#include "file_digest.h"
#include "support/ordinary_user.h"
#include "test_support.h"

namespace ram::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// One model and one finished folder for all cases; each works on a copy.
class Verify : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    made = new Made({.model_type = "qwen2_moe", .hidden = 64, .layers = 1, .dtype = DType::kF32});
    made->build(made->plan(), made->root / "good");
    made->options.max_shard_bytes = 20000;
    made->build(made->plan(), made->root / "shards");
  }
  static void TearDownTestSuite() {
    delete made;
    made = nullptr;
  }

  void SetUp() override { take("good"); }
  void TearDown() override { fs::remove_all(out); }

  void take(const std::string& folder) {
    fs::remove_all(out);
    fs::copy(made->root / folder, out, fs::copy_options::recursive);
  }

  VerifyReport alone() const { return verify_folder(out, nullptr, nullptr, 2); }
  VerifyReport with_study() const { return verify_folder(out, nullptr, made->study.get(), 2); }
  VerifyReport with_source() const {
    return verify_folder(out, made->checkpoint.get(), nullptr, 2);
  }
  VerifyReport with_both() const {
    return verify_folder(out, made->checkpoint.get(), made->study.get(), 2);
  }

  std::string read(const std::string& name) const {
    return read_text_file(out / name, int64_t{1} << 30);
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(out / name, std::ios::binary | std::ios::trunc) << text;
  }
  void edit_json(const std::string& name,
                 const std::function<void(nlohmann::ordered_json&)>& edit) const {
    auto json = nlohmann::ordered_json::parse(read(name));
    edit(json);
    write(name, json.dump());
  }

  /// The position of a tensor's bytes in model.safetensors.
  TensorInfo locate(const std::string& tensor) const {
    for (const TensorInfo& info : read_safetensors_header(out / "model.safetensors").tensors) {
      if (info.name == tensor) return info;
    }
    ADD_FAILURE() << tensor;
    return {};
  }
  void poke(int64_t at, const std::string& bytes) const {
    std::fstream file(out / "model.safetensors", std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(at);
    file << bytes;
  }

  static Made* made;
  static constexpr const char* kUnit = "model.layers.0.mlp.switch_mlp.down_proj";
  fs::path out = made->root / "copy";
};

Made* Verify::made = nullptr;

TEST_F(Verify, AFolderAsItWasWrittenHasNoProblems) {
  for (const char* folder : {"good", "shards"}) {
    take(folder);
    EXPECT_THAT(alone().problems, IsEmpty());
    EXPECT_THAT(with_study().problems, IsEmpty());
    EXPECT_THAT(with_source().problems, IsEmpty());
    const VerifyReport report = with_both();
    EXPECT_THAT(report.problems, IsEmpty());
    EXPECT_EQ(report.units, static_cast<int64_t>(made->checkpoint->units.size()));
    EXPECT_LE(report.largest_error_ratio, 1e-6);
    EXPECT_TRUE(report.contents_known);
    EXPECT_TRUE(alone().contents_known);
    int64_t total = 0;
    for (const auto& [name, text] : contents(out)) total += static_cast<int64_t>(text.size());
    EXPECT_EQ(report.total_bytes, total);
  }
}

TEST_F(Verify, AMissingFileIsFoundWhateverItIs) {
  for (const char* folder : {"good", "shards"}) {
    for (const auto& [name, text] : contents(made->root / folder)) {
      take(folder);
      fs::remove(out / name);
      EXPECT_THAT(with_study().problems, Contains(HasSubstr(name))) << name;
      EXPECT_THAT(alone().problems, Not(IsEmpty())) << name;
      EXPECT_THAT(with_study().problems, Contains(HasSubstr(name))) << name;
      EXPECT_THAT(with_source().problems, Contains(HasSubstr(name))) << name;
    }
  }
}

TEST_F(Verify, AFileTooManyIsFound) {
  write("notes.txt", "x");
  EXPECT_THAT(alone().problems, Contains(HasSubstr("files take")));
  EXPECT_THAT(alone().problems, Contains(HasSubstr("notes.txt")));
  EXPECT_THAT(with_study().problems, Contains(HasSubstr("notes.txt")));
  EXPECT_THAT(with_source().problems, Contains(HasSubstr("notes.txt")));
  EXPECT_THAT(with_both().problems, Contains(HasSubstr("notes.txt")).Times(1)) << "said once";
  take("good");
  fs::create_symlink(made->root.path(), out / "elsewhere");
  EXPECT_THAT(alone().problems, Contains(HasSubstr("elsewhere")));
}

TEST_F(Verify, WhatSystemsLeaveInAFolderIsNoProblem) {
  for (const char* name : {".DS_Store", "._config.json", "._model.safetensors", ".gitattributes",
                           ".gitignore", "Thumbs.db", "desktop.ini"}) {
    write(name, "x");
  }
  for (const char* folder : {".cache", ".git", ".Trashes"}) {
    fs::create_directories(out / folder / "deeper");
    write(std::string(folder) + "/deeper/model.safetensors", "x");
  }
  EXPECT_THAT(with_both().problems, IsEmpty());
  EXPECT_THAT(alone().problems, IsEmpty());
  write("DS_Store", "x");
  EXPECT_THAT(alone().problems, Not(IsEmpty()));
}

// Every byte of every small file; of the shards, every byte near an edge and many between.
TEST_F(Verify, OneFlippedByteIsFoundAnywhereByTheFolderAlone) {
  constexpr size_t kStep = 997;
  for (const auto& [name, text] : contents(made->root / "good")) {
    const bool small = text.size() < 1000;
    for (size_t at = 0; at < text.size(); at += small || at < 20 ? 1 : kStep) {
      std::string changed = text;
      changed[at] = static_cast<char>(changed[at] ^ 1);
      write(name, changed);
      EXPECT_THAT(alone().problems, Not(IsEmpty())) << name << " byte " << at;
    }
    std::string last = text;
    last.back() = static_cast<char>(last.back() ^ 0x40);
    write(name, last);
    EXPECT_THAT(alone().problems, Not(IsEmpty())) << name << " its last byte";
    write(name, text);
  }
  EXPECT_THAT(alone().problems, IsEmpty());
}

TEST_F(Verify, EveryDigestInThePlanIsChecked) {
  const std::string text = read("plan.json");
  const Plan plan = parse_plan(text, "plan.json");
  EXPECT_EQ(plan.file_hashes.size(), contents(out).size());
  for (const auto& [name, hash] : plan.file_hashes) {
    std::string changed = text;
    const size_t at = changed.find(hash);
    changed[at] = changed[at] == '0' ? '1' : '0';
    write("plan.json", changed);
    EXPECT_THAT(alone().problems, Contains(HasSubstr("plan.json"))) << name;
    Plan without = plan;
    without.file_hashes.erase(name);
    write("plan.json", render_plan(without));
    EXPECT_THAT(alone().problems, Contains(HasSubstr(name))) << name;
  }
  for (const char* bad : {R"("files": 3)", R"("files": {"a": "00"})", R"("files": {"a": 1})"}) {
    write("plan.json", text.substr(0, text.find(R"("files")")) + bad + "}");
    EXPECT_THAT(alone().problems, Contains(HasSubstr("files"))) << bad;
  }
}

TEST_F(Verify, AFolderOfARamWithoutDigestsIsCheckedAsFarAsItGoes) {
  Plan plan = parse_plan(read("plan.json"), "plan.json");
  plan.file_hashes.clear();
  write("plan.json", render_plan(plan));
  const VerifyReport report = alone();
  EXPECT_FALSE(report.contents_known);
  EXPECT_THAT(report.problems, ::testing::ElementsAre(HasSubstr("files take")));
}

/// As versions before the digests wrote it: the columns had no fixed width, and the study's key was
/// the text's hash.
TEST_F(Verify, AFolderOfAnEarlierRamIsWholeWithItsOwnColumns) {
  Plan plan = parse_plan(read("plan.json"), "plan.json");
  plan.file_hashes.clear();
  const auto old_text = [&plan] {
    std::string text = render_plan(plan);
    for (const std::string key :
         {"\"budget_bytes\": ", "\"unit_budget_bytes\": ", "\"budget\": "}) {
      const size_t begin = text.find_first_of(" ,", text.find(key) + key.size());
      text.erase(begin, text.find(',', begin) - begin);
    }
    return text;
  };
  for (int64_t total = 0; total != plan.total_bytes;) {
    write("plan.json", old_text());
    total = 0;
    for (const auto& [name, text] : contents(out)) total += std::ssize(text);
    std::swap(total, plan.total_bytes);
  }
  ASSERT_NE(read("plan.json"), render_plan(plan));
  EXPECT_THAT(alone().problems, IsEmpty());
  EXPECT_FALSE(with_study().contents_known);
  BuildRecord record = {.fingerprint = plan.fingerprint,
                        .plan_hash = hash_text(read("plan.json")),
                        .file_hashes = {}};
  for (const auto& [name, text] : contents(out)) {
    const std::vector<fs::path> path = {out / name};
    record.file_hashes[name] = file_digests(path, 1).front();
  }
  BuildTable(*made->study).put(record);
  EXPECT_TRUE(with_study().contents_known);
  EXPECT_THAT(with_both().problems, IsEmpty());
  poke(locate(std::string(kUnit) + ".weight").begin, "?");
  EXPECT_THAT(with_study().problems, Contains(HasSubstr("model.safetensors")));
}

TEST_F(Verify, ABuildOfTheSamePlanFromOtherCarriedFilesIsAnotherFolder) {
  Made own({.hidden = 64});
  const Plan plan = own.plan();
  own.build(plan, own.root / "first");
  const std::string text = read_text_file(own.source / "tokenizer.json", 1000);
  std::ofstream(own.source / "tokenizer.json") << "[" << text.substr(1);
  own.checkpoint = std::make_unique<Checkpoint>(Checkpoint::open(own.source.string()));
  own.build(plan, own.root / "second");
  for (const char* folder : {"first", "second"}) {
    const VerifyReport report = verify_folder(own.root / folder, nullptr, own.study.get(), 1);
    EXPECT_THAT(report.problems, IsEmpty()) << folder;
    EXPECT_TRUE(report.contents_known);
  }
}

TEST_F(Verify, AFileThatCannotBeReadIsAnErrorAndNoProblem) {
  fs::permissions(out / "model.safetensors", fs::perms::none);
  for (fs::path at = out; at.has_relative_path() && at != fs::temp_directory_path();
       at = at.parent_path()) {
    testing::open_to_others(at);
  }
  const std::optional<int> status = testing::as_ordinary_user(
      [&] { return static_cast<int>(error_of([&] { alone(); }).code()); });
  if (!status) GTEST_SKIP() << "skipped: cannot become a user for whom permissions apply";
  EXPECT_EQ(status, static_cast<int>(Code::kMissing));
}

TEST_F(Verify, AShardOfAnotherFolderIsFound) {
  fs::copy(out / "model.safetensors", out / "model-2.safetensors");
  EXPECT_THAT(alone().problems, Contains(HasSubstr("another shard")));
}

TEST_F(Verify, ACutShardIsFound) {
  fs::resize_file(out / "model.safetensors", fs::file_size(out / "model.safetensors") - 1);
  EXPECT_THAT(alone().problems, Contains(HasSubstr("model.safetensors")));
}

TEST_F(Verify, AFlippedBitInCodesOrScalesIsFoundByHashAndBySource) {
  for (const char* piece : {".weight", ".scales", ".biases"}) {
    take("good");
    const TensorInfo info = locate(std::string(kUnit) + piece);
    std::string text = read("model.safetensors");
    const auto at = static_cast<size_t>(info.begin + info.bytes() / 2);
    poke(info.begin + info.bytes() / 2, std::string(1, static_cast<char>(text[at] ^ 1)));
    EXPECT_THAT(alone().problems, Contains(HasSubstr("model.safetensors"))) << piece;
    EXPECT_THAT(with_study().problems, Contains(HasSubstr("model.safetensors"))) << piece;
    EXPECT_THAT(with_source().problems, Contains(HasSubstr(kUnit))) << piece;
  }
}

TEST_F(Verify, AChangedErrorIsMeasuredAgainstTheStudy) {
  const TensorInfo info = locate(std::string(kUnit) + ".weight");
  poke(info.begin, std::string(static_cast<size_t>(info.bytes()), '\0'));
  const VerifyReport report = with_both();
  EXPECT_THAT(report.problems, Contains(HasSubstr("the study says")));
  EXPECT_GT(report.largest_error_ratio, 1);
}

TEST_F(Verify, AnUnquantizedTensorAndALayersOwnBiasAreComparedToo) {
  for (const std::string name : {"model.norm.weight", "model.layers.0.self_attn.q_proj.bias"}) {
    take("good");
    const TensorInfo info = locate(name);
    poke(info.begin, std::string(2, '\x11'));
    EXPECT_THAT(with_source().problems, Contains(HasSubstr(name.substr(0, name.rfind('.')))))
        << name;
  }
}

TEST_F(Verify, AScaleThatIsNotFiniteIsFoundWithoutStudyOrSource) {
  const TensorInfo info = locate(std::string(kUnit) + ".scales");
  poke(info.begin + 2, "\xc0\x7f");  // NaN in bfloat16
  EXPECT_THAT(alone().problems, Contains(HasSubstr("element 1 is not finite")));
}

TEST_F(Verify, AnEditedFormatInConfigIsFound) {
  for (const char* key : {"quantization", "quantization_config"}) {
    take("good");
    edit_json("config.json", [&](auto& json) { json[key][kUnit]["bits"] = 7; });
    EXPECT_THAT(alone().problems, Contains(HasSubstr("config.json"))) << key;
  }
  take("good");
  edit_json("config.json", [&](auto& json) {
    for (const char* key : {"quantization", "quantization_config"}) json[key]["no.such"] = false;
  });
  EXPECT_THAT(alone().problems, Contains(HasSubstr("no.such")));
}

TEST_F(Verify, AnotherEditInConfigIsFoundByTheSource) {
  edit_json("config.json", [](auto& json) { json["rms_norm_eps"] = 0.5; });
  EXPECT_THAT(with_source().problems, Contains(HasSubstr("config.json")));
  EXPECT_THAT(with_study().problems, Contains(HasSubstr("config.json")));
}

TEST_F(Verify, ANumberEditedInThePlanIsFound) {
  const std::string text = read("plan.json");
  const auto replace = [&](const std::string& from, const std::string& to) {
    std::string edited = text;
    const size_t at = edited.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    write("plan.json", edited.replace(at, from.size(), to));
  };
  const Plan plan = parse_plan(text, "plan.json");
  replace(fmt::format("\"total_bytes\": {}", plan.total_bytes),
          fmt::format("\"total_bytes\": {}", plan.total_bytes - 1));
  EXPECT_THAT(alone().problems, Contains(HasSubstr("plan.json says")));
  replace(fmt::format("\"weight_bytes\": {}", plan.weight_bytes),
          fmt::format("\"weight_bytes\": {}", plan.weight_bytes - 1));
  EXPECT_THAT(alone().problems, Contains(HasSubstr("tensors take")));
  replace("\"ram_plan\"", " \"ram_plan\"");
  EXPECT_THAT(alone().problems, Contains(HasSubstr("edited")));
  write("plan.json", "{");
  EXPECT_THAT(alone().problems, Contains(HasSubstr("plan.json")));
}

TEST_F(Verify, AFormatEditedInThePlanIsFound) {
  std::string text = read("plan.json");
  Plan plan = parse_plan(text, "plan.json");
  for (PlannedUnit& unit : plan.units) {
    if (unit.name == kUnit) {
      ASSERT_TRUE(unit.format);
      unit.format = AffineFormat{.bits = unit.format->bits == 5 ? 6 : 5, .group_size = 64};
    }
  }
  write("plan.json", render_plan(plan));
  EXPECT_THAT(alone().problems, Contains(HasSubstr(kUnit)));
}

TEST_F(Verify, AnEditedIndexIsFound) {
  edit_json("model.safetensors.index.json",
            [](auto& json) { json["weight_map"]["model.norm.weight"] = "model-9.safetensors"; });
  EXPECT_THAT(alone().problems, Contains(HasSubstr("model-9.safetensors")));
  take("good");
  edit_json("model.safetensors.index.json",
            [](auto& json) { json["weight_map"].erase("model.norm.weight"); });
  EXPECT_THAT(alone().problems, Contains(HasSubstr("model.norm.weight")));
}

TEST_F(Verify, AnotherSourceIsNotItsSource) {
  Made other(
      {.model_type = "qwen2_moe", .hidden = 64, .layers = 1, .dtype = DType::kF32, .seed = 2});
  const VerifyReport report = verify_folder(out, other.checkpoint.get(), other.study.get(), 2);
  EXPECT_THAT(report.problems, Contains(HasSubstr("fingerprint")));
  EXPECT_THAT(verify_folder(out, other.checkpoint.get(), nullptr, 2).problems,
              Contains(HasSubstr("fresh encoding")));
  Made layers({.model_type = "qwen2_moe", .hidden = 64, .layers = 2});
  EXPECT_THAT(verify_folder(out, layers.checkpoint.get(), layers.study.get(), 2).problems,
              Not(IsEmpty()));
}

TEST_F(Verify, GarbageInEveryFileIsAProblemAndNoCrash) {
  for (const auto& [name, text] : contents(made->root / "good")) {
    for (const std::string& garbage : {std::string(), std::string("[1"), text + text}) {
      take("good");
      write(name, garbage);
      EXPECT_THAT(with_both().problems, Not(IsEmpty())) << name;
    }
  }
}

TEST_F(Verify, AFolderThatIsNotThereIsAnError) {
  EXPECT_EQ(error_of([&] { verify_folder(made->root / "none", nullptr, nullptr, 1); }).code(),
            Code::kMissing);
}

}  // namespace
}  // namespace ram::testing
