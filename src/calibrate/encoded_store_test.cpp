// The folder of compressed units: one program at a time, every file is checked, and no more space
// is used than necessary.
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/calibrate.h"
#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/file_fault.h"

#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

using testing::TempFolder;
using testing::TinyModel;
using testing::write_tiny_model;

Code code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  return Code{};
}

class Encoded : public ::testing::Test {
 protected:
  void SetUp() override {
    write_tiny_model(temp_ / "model", TinyModel());
    for (const Unit& unit : checkpoint().units) {
      formats_.push_back(unit.quantizable ? UnitFormat(AffineFormat{4, 32}) : std::nullopt);
    }
  }
  const Checkpoint& checkpoint() {
    if (!checkpoint_) checkpoint_.emplace(Checkpoint::open((temp_ / "model").string()));
    return *checkpoint_;
  }
  EncodedStore store(EncodedFolder& folder, const std::string& circumstances) {
    return {checkpoint(), formats_, DType::kBF16, folder, circumstances};
  }
  std::vector<int> units() const {
    std::vector<int> found;
    for (size_t u = 0; u < formats_.size(); ++u) {
      if (formats_[u]) found.push_back(static_cast<int>(u));
    }
    return found;
  }
  CompressedUnit made(int unit, uint32_t code) {
    const Unit& use = checkpoint().units[static_cast<size_t>(unit)];
    CompressedUnit result;
    result.unit = unit;
    for (size_t part = 0; part < use.parts.size(); ++part) {
      EncodedMatrix& matrix = result.parts.emplace_back();
      matrix.codes.assign(static_cast<size_t>(use.rows * use.cols / 8), code);
      matrix.scales.assign(static_cast<size_t>(use.rows * use.cols / 32 * 2), std::byte{1});
      matrix.biases.assign(static_cast<size_t>(use.rows * use.cols / 32 * 2), std::byte{2});
    }
    return result;
  }
  uint32_t first_code(const EncodedStore& store, int unit) {
    const Unit& use = checkpoint().units[static_cast<size_t>(unit)];
    std::vector<uint32_t> codes(static_cast<size_t>(use.cols / 8));
    std::vector<std::byte> scales(static_cast<size_t>(use.cols / 32 * 2));
    std::vector<std::byte> biases(scales.size());
    store.read_rows(unit, 0, 0, 1, codes.data(), scales.data(), biases.data());
    return codes.front();
  }
  static std::vector<fs::path> files(const EncodedFolder& folder) {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(folder.path())) {
      if (!FileLock::is_file_of("lock", entry.path())) found.push_back(entry.path());
    }
    return found;
  }

  TempFolder temp_;
  std::optional<Checkpoint> checkpoint_;
  std::vector<UnitFormat> formats_;
};

/// With and without a file system that supports locks.
class EncodedLocked : public Encoded, public ::testing::WithParamInterface<int> {
 protected:
  EncodedLocked() {
    set_file_fault([](FileStep step, const fs::path&, int64_t&) {
      return step == FileStep::kLock ? GetParam() : 0;
    });
  }
  ~EncodedLocked() override { set_file_fault({}); }
};

INSTANTIATE_TEST_SUITE_P(HardAndSoft, EncodedLocked, ::testing::Values(0, ENOSYS));

TEST_P(EncodedLocked, AFolderBelongsToOneProgramAndGoesWhenItHoldsNothing) {
  const fs::path out = temp_ / "deep/er/out";
  {
    const EncodedFolder folder(out);
    EXPECT_EQ(folder.path(), temp_.path() / "deep/er/.out.ram-encoded");
    EXPECT_EQ(code_of([&] { EncodedFolder second(out); }), Code::kUsage);
    EXPECT_EQ(code_of([&] { EncodedFolder second(out / ""); }), Code::kUsage);
    const EncodedFolder other(temp_ / "other");
  }
  EXPECT_FALSE(fs::exists(temp_ / "deep"));
  {
    EncodedFolder folder(out);
    store(folder, "a").put(made(units().front(), 7));
  }
  EXPECT_TRUE(fs::exists(temp_ / "deep/er/.out.ram-encoded"));
  EncodedFolder again(out);
  EXPECT_EQ(first_code(store(again, "a"), units().front()), 7U);
  again.clear();
  EXPECT_EQ(again.bytes(), 0);
  EXPECT_EQ(code_of([&] { EncodedFolder second(out); }), Code::kUsage);  // the lock is still there
}

TEST_P(EncodedLocked, ALinkToAnOutputIsThatOutput) {
  fs::create_directory(temp_ / "out");
  fs::create_directory_symlink(temp_ / "out", temp_ / "link");
  const EncodedFolder folder(temp_ / "out");
  EXPECT_EQ(code_of([&] { EncodedFolder second(temp_ / "link"); }), Code::kUsage);
}

TEST_F(Encoded, RowsAreReadOnlyFromFilesThatAreAsTheyWerePut) {
  EncodedFolder folder(temp_ / "out");
  const int unit = units().front();
  const EncodedStore held = store(folder, "a");
  EXPECT_EQ(code_of([&] { first_code(held, unit); }), Code::kCorrupt);  // not stored yet
  store(folder, "a").put(made(unit, 5));
  EXPECT_EQ(first_code(held, unit), 5U);
  ASSERT_EQ(files(folder).size(), 1U);
  // Damages a byte of a row that is not read, after a check that passed.
  const fs::path file = files(folder).front();
  const auto size = static_cast<std::streamoff>(fs::file_size(file));
  std::fstream(file, std::ios::in | std::ios::out | std::ios::binary).seekp(size - 1).put('z');
  EXPECT_EQ(code_of([&] { first_code(held, unit); }), Code::kCorrupt);
  EXPECT_FALSE(held.find(unit).has_value());  // so it is compressed again
  store(folder, "a").put(made(unit, 6));
  EXPECT_EQ(first_code(held, unit), 6U);
  fs::resize_file(file, static_cast<uintmax_t>(size - 1));
  EXPECT_EQ(code_of([&] { first_code(held, unit); }), Code::kCorrupt);
}

TEST_F(Encoded, NothingIsPutOfAModelThatChanged) {
  EncodedFolder folder(temp_ / "out");
  const int unit = units().front();
  const CompressedUnit compressed = made(unit, 5);
  const fs::path weights = temp_ / "model" / "model.safetensors";
  fs::last_write_time(weights, fs::last_write_time(weights) - std::chrono::hours(1));
  EXPECT_EQ(code_of([&] { store(folder, "a").put(compressed); }), Code::kCorrupt);
  EXPECT_TRUE(files(folder).empty());
}

TEST_F(Encoded, CtrlCEndsTheCheckOfAUnit) {
  EncodedFolder folder(temp_ / "out");
  const int unit = units().front();
  store(folder, "a").put(made(unit, 5));
  const Cancellation cancellation;
  const CancelScope scope(cancellation);
  cancellation.request();
  EXPECT_EQ(code_of([&] { first_code(store(folder, "a"), unit); }), Code::kInterrupted);
}

TEST_F(Encoded, ALockThatFailsLeavesNothingBehind) {
  set_file_fault(
      [](FileStep step, const fs::path&, int64_t&) { return step == FileStep::kLock ? EIO : 0; });
  EXPECT_EQ(code_of([&] { EncodedFolder folder(temp_ / "deep/er/out"); }), Code::kWriteFailed);
  set_file_fault({});
  EXPECT_FALSE(fs::exists(temp_ / "deep"));
}

TEST_P(EncodedLocked, SpaceIsCountedAndOthersLeave) {
  EncodedFolder folder(temp_ / "out");
  EncodedStore first = store(folder, "a");
  EncodedStore second = store(folder, "b");
  EXPECT_EQ(first.missing_bytes(), first.bytes());
  for (const int unit : units()) first.put(made(unit, 1));
  EXPECT_EQ(first.missing_bytes(), 0);
  EXPECT_EQ(folder.bytes(), first.bytes());
  EXPECT_EQ(second.missing_bytes(), second.bytes());
  second.put(made(units().front(), 2));
  EXPECT_GT(folder.bytes(), first.bytes());
  first.remove_others();
  EXPECT_EQ(folder.bytes(), first.bytes());
  EXPECT_EQ(first.missing_bytes(), 0);
  EXPECT_FALSE(second.find(units().front()).has_value());
  std::ofstream(folder.path() / "half.part") << "what a killed run left";
  first.remove_others();
  EXPECT_EQ(folder.bytes(), first.bytes());
}

}  // namespace
}  // namespace ram
