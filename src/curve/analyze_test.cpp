// analyze: the sums are right, do not depend on threads, are kept, and are measured again only if
// the content is new.
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>

#include <gtest/gtest.h>
#include <sqlite3.h>

#include "ram/curve_table.h"
#include "ram/dtype.h"
#include "ram/file.h"
#include "ram/progress.h"

#include "test_support.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using testing::error_of;

// Overwrites one element of a tensor in its file, as an in-place editor would.
void set_element(const Checkpoint& checkpoint, const std::string& name, int64_t element,
                 float value) {
  for (const SourceTensor& tensor : checkpoint.tensors) {
    if (tensor.info.name != name) continue;
    const int64_t size = dtype_bytes(tensor.info.dtype);
    std::byte bytes[4];
    from_f32(&value, tensor.info.dtype, 1, bytes);
    const fs::path path = checkpoint.files[static_cast<size_t>(tensor.file)].path();
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(tensor.info.begin + element * size);
    file.write(reinterpret_cast<const char*>(bytes), size);
    ASSERT_TRUE(file.good()) << name;
    return;
  }
  FAIL() << "no tensor " << name;
}

void touch(const fs::path& path) {
  fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(1));
}

int64_t used_bytes(const Checkpoint& checkpoint) {
  return checkpoint.bytes();
}

TEST_F(CurveTest, ResultsAreTheSameBitsForEveryNumberOfThreads) {
  write(chunked_model());
  const ModelCurves one = run_fresh({.threads = 1});
  for (const int threads : {2, 3, 7}) expect_same(one, run_fresh({.threads = threads}));
}

TEST_F(CurveTest, ResultsAreTheSameBitsPastTheSystemsCache) {
  write(chunked_model());
  const ModelCurves through = run_fresh({.threads = 2});
  for (const int threads : {1, 2, 7}) {
    for (const InputFile& file : open().files) testing::drop_from_cache(file.path());
    expect_same(through, run_fresh({.threads = threads, .past_cache = true}));
  }
}

TEST_F(CurveTest, SumsAreThoseOfTheWholeMatrixMeasuredAtOnce) {
  write(chunked_model());
  const Checkpoint checkpoint = open();
  for (const Encoder encoder : {Encoder::kMlx, Encoder::kSimulated}) {
    const ModelCurves curves = run_fresh({.encoder = encoder, .threads = 2});
    ASSERT_EQ(curves.units.size(), checkpoint.units.size());
    for (size_t u = 0; u < checkpoint.units.size(); ++u) {
      const Unit& unit = checkpoint.units[u];
      const UnitCurve& curve = curves.units[u];
      EXPECT_EQ(curve.formats, unit.quantizable ? formats_for_cols(unit.cols) : 0) << unit.name;
      for (size_t p = 0; p < curve.parts.size(); ++p) {
        std::vector<std::byte> rows(static_cast<size_t>(unit.part_weights() * 2));
        checkpoint.read_rows(unit, static_cast<int>(p), 0, unit.rows, rows.data());
        const Distortion truth = measure_distortion(rows.data(), unit.dtype, unit.rows, unit.cols,
                                                    curve.formats, DType::kBF16, encoder);
        const auto close = [](double a, double b) { return std::abs(a - b) <= 1e-8 * b; };
        EXPECT_TRUE(close(curve.parts[p].sum_squares, truth.sum_squares)) << unit.name;
        for (size_t f = 0; f < kFormatCount; ++f) {
          EXPECT_TRUE(close(curve.parts[p].squared_error[f], truth.squared_error[f]))
              << unit.name << " part " << p << " format " << f;
        }
      }
    }
  }
}

TEST_F(CurveTest, ASecondRunReadsNothing) {
  write(small_model());
  Study study(folder_ / "ram.db");
  const ModelCurves first = run(study, {.threads = 2});
  EXPECT_EQ(stats_.bytes_read, used_bytes(open()));
  const int64_t tensors = stats_.tensors_measured;
  EXPECT_EQ(stats_.tensors_known, 0);
  EXPECT_EQ(static_cast<size_t>(tensors), open().tensors.size());

  Study again(folder_ / "ram.db");
  expect_same(first, run(again));
  EXPECT_EQ(stats_.bytes_read, 0);
  EXPECT_EQ(stats_.tensors_measured, 0);
  EXPECT_EQ(stats_.tensors_known, tensors);
  ASSERT_EQ(ModelTable(again).all().size(), 1U);
  EXPECT_EQ(ModelTable(again).all()[0].fingerprint, first.fingerprint);
  EXPECT_EQ(ModelTable(again).all()[0].weights, open().weights());
}

TEST_F(CurveTest, KnownCurvesAreThoseOfARunOrNone) {
  write(small_model());
  const fs::path path = folder_ / "ram.db";
  {
    Study study(path);
    EXPECT_FALSE(known_curves(open(), study, {}));
    EXPECT_TRUE(ModelTable(study).all().empty()) << "a query writes nothing";
    const ModelCurves measured = run(study);
    const std::optional<ModelCurves> known = known_curves(open(), study, {});
    ASSERT_TRUE(known);
    expect_same(measured, *known);
    EXPECT_FALSE(known_curves(open(), study, {.dtype = DType::kF16}));
    EXPECT_FALSE(known_curves(open(), study, {.encoder = Encoder::kSimulated}));
  }
  touch(open().files[0].path());
  Study study(path);
  EXPECT_FALSE(known_curves(open(), study, {})) << "the file may hold something else now";
  run(study);
  EXPECT_TRUE(known_curves(open(), study, {}));
}

TEST_F(CurveTest, AFileWithANewDateIsHashedAndNotMeasured) {
  write(small_model());
  Study study(folder_ / "ram.db");
  const ModelCurves first = run(study);
  for (const InputFile& file : open().files) touch(file.path());
  expect_same(first, run(study, {.threads = 3}));
  EXPECT_EQ(stats_.tensors_measured, 0);
  EXPECT_EQ(stats_.bytes_read, used_bytes(open()));
  run(study);
  EXPECT_EQ(stats_.bytes_read, 0) << "the new date is known now";
}

TEST_F(CurveTest, AChangedTensorIsNoticedAndOnlyItIsMeasuredAgain) {
  write(small_model());
  Study study(folder_ / "ram.db");
  const ModelCurves first = run(study);
  const Checkpoint before = open();
  set_element(before, "model.layers.1.mlp.experts.down_proj", 12345, 3.0F);
  set_element(before, "model.norm.weight", 5, 2.0F);
  for (const InputFile& file : before.files) touch(file.path());
  const ModelCurves second = run(study);
  EXPECT_EQ(stats_.tensors_measured, 2);
  EXPECT_NE(first.fingerprint, second.fingerprint);
  expect_same(second, run_fresh());
  for (size_t u = 0; u < before.units.size(); ++u) {
    const bool changed = before.units[u].name == "model.layers.1.mlp.switch_mlp.down_proj";
    EXPECT_EQ(same(first.units[u].pooled, second.units[u].pooled), !changed)
        << before.units[u].name;
  }
  EXPECT_EQ(ModelTable(study).all().size(), 2U);
}

TEST_F(CurveTest, AnotherDtypeOrEncoderIsMeasuredForItself) {
  write(small_model());
  Study study(folder_ / "ram.db");
  const ModelCurves bf16 = run(study);
  const ModelCurves f16 = run(study, {.dtype = DType::kF16});
  EXPECT_GT(stats_.tensors_measured, 0);
  const ModelCurves reference = run(study, {.encoder = Encoder::kSimulated});
  EXPECT_GT(stats_.tensors_measured, 0);
  EXPECT_GT(stats_.tensors_known, 0) << "norms do not depend on the encoder";
  EXPECT_EQ(bf16.fingerprint, f16.fingerprint);
  EXPECT_EQ(bf16.fingerprint, reference.fingerprint);
  const size_t head = bf16.units.size() - 1;
  const int format = format_index({8, 64});
  EXPECT_GT(bf16.units[head].mse(format), f16.units[head].mse(format))
      << "scales of bf16 are coarser";
  for (const Encoder encoder : {Encoder::kMlx, Encoder::kSimulated}) {
    run(study, {.encoder = encoder});
    EXPECT_EQ(stats_.bytes_read, 0);
  }
  // @source reference-method.md, the published quantizer on Gaussian weights
  EXPECT_NEAR(reference.units[head].nrmse(format_index({4, 64}), Encoder::kSimulated), 0.0896,
              0.003);
}

TEST_F(CurveTest, RehashLooksAtTheContentWhateverTheDatesSay) {
  write(small_model());
  const fs::path path = folder_ / "ram.db";
  const ModelCurves truth = [&] {
    Study study(path);
    return run(study);
  }();
  // As if one tensor had become another of the same shape without a trace on the file.
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db,
                         "UPDATE tensor SET hash = (SELECT hash FROM tensor WHERE name = "
                         "'model.layers.0.self_attn.q_proj.weight') WHERE name = "
                         "'model.layers.1.self_attn.q_proj.weight'",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  ASSERT_EQ(sqlite3_changes(db), 1);
  sqlite3_close(db);
  Study study(path);
  EXPECT_NE(run(study).fingerprint, truth.fingerprint) << "the study is trusted";
  expect_same(run(study, {.rehash = true}), truth);
  EXPECT_GE(stats_.bytes_read, used_bytes(open()));
  EXPECT_EQ(stats_.tensors_measured, 0) << "its true content was measured before";
  expect_same(run(study), truth);
  EXPECT_EQ(stats_.bytes_read, 0);
}

TEST_F(CurveTest, AWeightThatIsNotFiniteIsNamed) {
  struct Case {
    std::string tensor;
    int64_t element;
    float value;
    DType dtype;
    std::string expected;
  };
  const std::vector<Case> cases = {
      {"model.embed_tokens.weight", 95 * 128 + 17, std::numeric_limits<float>::quiet_NaN(),
       DType::kBF16, "model.embed_tokens.weight[95, 17] = nan"},
      {"model.layers.1.mlp.experts.down_proj", 3 * 128 * 64 + 63,
       -std::numeric_limits<float>::infinity(), DType::kBF16,
       "model.layers.1.mlp.experts.down_proj[3, 0, 63] = -inf"},
      {"model.norm.weight", 127, std::numeric_limits<float>::infinity(), DType::kBF16,
       "model.norm.weight[127] = inf"},
      {"model.norm.weight", 0, 131072.0F, DType::kF16,
       "model.norm.weight[0] = 131072: too large for f16; use --dtype bf16 or f32"},
  };
  for (const Case& bad : cases) {
    fs::remove_all(model_folder());
    write(small_model());
    set_element(open(), bad.tensor, bad.element, bad.value);
    for (const int threads : {1, 3}) {
      const AnalyzeOptions options = {
          .dtype = bad.dtype, .threads = threads, .past_cache = threads == 3};
      const Error error = error_of([&] { run_fresh(options); });
      EXPECT_EQ(error.code(), Code::kCorrupt);
      const std::string message = error.what();
      EXPECT_NE(message.find(bad.expected), std::string::npos) << message;
      EXPECT_NE(message.find(".safetensors"), std::string::npos) << message;
    }
  }
}

TEST_F(CurveTest, AWeightTooLargeForBf16IsNamedWithADtypeThatHoldsIt) {
  testing::TinyModel model = small_model();
  model.dtype = DType::kF32;
  write(model);
  set_element(open(), "model.norm.weight", 5, 3.4e38F);  // rounds to infinity in bf16
  const std::string message = error_of([&] { run_fresh(); }).what();
  EXPECT_NE(message.find("model.norm.weight[5] = 3.4e+38: too large for bf16; use --dtype f32 ("),
            std::string::npos)
      << message;
  run_fresh({.dtype = DType::kF32});
}

TEST_F(CurveTest, WhatWasDoneBeforeAnErrorIsKept) {
  write(small_model());
  set_element(open(), "model.norm.weight", 0, std::numeric_limits<float>::quiet_NaN());
  Study study(folder_ / "ram.db");
  EXPECT_EQ(error_of([&] { run(study); }).code(), Code::kCorrupt);
  set_element(open(), "model.norm.weight", 0, 1.0F);
  const ModelCurves curves = run(study);
  EXPECT_GT(stats_.tensors_known, 3);
  EXPECT_GT(stats_.tensors_measured, 0);
  expect_same(curves, run_fresh());
}

TEST_F(CurveTest, AFileThatChangesDuringTheRunIsAnErrorAndNothingFalseIsKept) {
  write(small_model());
  Study study(folder_ / "ram.db");
  const Checkpoint checkpoint = open();
  int calls = 0;
  const ProgressFn change = [&](const Progress&) {
    if (++calls != 3) return;
    set_element(checkpoint, "model.embed_tokens.weight", 0, 5.0F);
    set_element(checkpoint, "model.layers.0.self_attn.q_proj.weight", 0, 5.0F);
    touch(checkpoint.files[0].path());
  };
  const Error error = error_of([&] { analyze(checkpoint, study, {}, change); });
  EXPECT_EQ(error.code(), Code::kCorrupt);
  EXPECT_NE(std::string(error.what()).find("changed while"), std::string::npos);
  EXPECT_TRUE(ModelTable(study).all().empty());
  expect_same(run(study), run_fresh());
}

TEST_F(CurveTest, RowsThatNoGroupDividesAreKeptAndSomeGroupsAreEnough) {
  testing::TinyModel model;
  model.hidden = 96;        // only groups of 32
  model.intermediate = 72;  // no group size
  model.heads = 2;
  write(model);
  const Checkpoint checkpoint = open();
  const ModelCurves curves = run_fresh();
  for (size_t u = 0; u < checkpoint.units.size(); ++u) {
    const Unit& unit = checkpoint.units[u];
    if (!unit.quantizable) continue;
    EXPECT_EQ(curves.units[u].formats, unit.cols == 72 ? 0U : formats_for_cols(96)) << unit.name;
    EXPECT_EQ(curves.units[u].parts.empty(), unit.cols == 72) << unit.name;
  }
}

TEST_F(CurveTest, ProgressGrowsToItsTotal) {
  write(chunked_model());
  Study study(folder_ / "ram.db");
  int64_t last = 0;
  int64_t total = 0;
  const ProgressFn look = [&](const Progress& progress) {
    EXPECT_EQ(progress.phase, "analyze");
    EXPECT_GE(progress.done, last);
    last = progress.done;
    total = progress.total;
  };
  analyze(open(), study, {.threads = 3}, look);
  EXPECT_EQ(last, total);
  EXPECT_EQ(total, used_bytes(open()));
}

}  // namespace
}  // namespace ram
