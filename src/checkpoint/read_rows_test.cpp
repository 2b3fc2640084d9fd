// Rows of parts, for all shapes and storage formats of their tensors, against whole tensors to
// which the steps are applied one after another.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <numeric>
#include <random>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/size.h"

#include "elements.h"
#include "layout.h"
#include "support/sanitizers.h"
#include "support/temp_folder.h"

namespace ram {
namespace {

using testing::TempFolder;

/// Bytes of a test's tensor.
struct Stored {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

/// A checkpoint of these tensors, in this order, without units.
class TensorFile {
 public:
  explicit TensorFile(const std::vector<Stored>& tensors) {
    std::vector<TensorSpec> specs;
    specs.reserve(tensors.size());
    for (const Stored& tensor : tensors) specs.push_back({tensor.name, tensor.dtype, tensor.shape});
    std::string text = render_safetensors_header(specs, {});
    for (const Stored& tensor : tensors) {
      text.append(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
    }
    const std::filesystem::path path = folder_ / "model.safetensors";
    write_file_atomic(path, text);
    checkpoint.files.emplace_back(path);
    const auto infos = read_safetensors_header(checkpoint.files.front()).tensors;
    for (const Stored& tensor : tensors) {
      const auto found = std::find_if(infos.begin(), infos.end(), [&](const TensorInfo& info) {
        return info.name == tensor.name;
      });
      checkpoint.tensors.push_back({*found, 0});
    }
  }

 private:
  TempFolder folder_;

 public:
  Checkpoint checkpoint;
};

template <class Element>
std::vector<std::byte> as_bytes(const std::vector<Element>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(Element));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

/// Elements whose value is their index.
template <class Element>
std::vector<Element> numbered(int64_t count) {
  std::vector<Element> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), Element{0});
  return values;
}

// The slow reference: a matrix of element indices, and each step as documented.
using Matrix = std::vector<std::vector<int64_t>>;

Matrix transposed(const Matrix& from) {
  Matrix to(from.empty() ? 0 : from.front().size());
  for (const auto& row : from) {
    for (size_t c = 0; c < row.size(); ++c) to[c].push_back(row[c]);
  }
  return to;
}

template <class Keep>
Matrix rows_where(const Matrix& from, Keep keep) {
  Matrix to;
  for (size_t r = 0; r < from.size(); ++r) {
    if (keep(static_cast<int64_t>(r))) to.push_back(from[r]);
  }
  return to;
}

Matrix truth(const std::vector<SizedStep>& steps, const std::vector<int64_t>& shape, int64_t parts,
             int64_t part) {
  Matrix matrix;
  const int64_t elements =
      std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  for (int64_t e = 0; e < elements; ++e) {
    if (e % shape.back() == 0) matrix.emplace_back();
    matrix.back().push_back(e);
  }
  for (const auto& [kind, others] : steps) {
    const auto rows = std::ssize(matrix);
    const int64_t n = others;
    switch (kind) {
      case StepKind::kSlice:
      case StepKind::kGroup:
        matrix = rows_where(matrix, [&](int64_t r) { return r / (rows / parts) == part; });
        break;
      case StepKind::kFirstHalf:
        matrix = rows_where(matrix, [&](int64_t r) { return r < rows / 2; });
        break;
      case StepKind::kSecondHalf:
        matrix = rows_where(matrix, [&](int64_t r) { return r >= rows / 2; });
        break;
      case StepKind::kEvenRows:
        matrix = rows_where(matrix, [&](int64_t r) { return r % 2 == 0; });
        break;
      case StepKind::kOddRows:
        matrix = rows_where(matrix, [&](int64_t r) { return r % 2 == 1; });
        break;
      case StepKind::kFirstRows:
        matrix = rows_where(matrix, [&](int64_t r) { return r < rows - n; });
        break;
      case StepKind::kLastRows:
        matrix = rows_where(matrix, [&](int64_t r) { return r >= n; });
        break;
      case StepKind::kTranspose:
        matrix = transposed(matrix);
        break;
    }
  }
  return matrix;
}

/// A unit of one dtype whose parts have these views.
Unit unit_of(const TensorLayout& layout, int64_t parts, int64_t rows, int64_t cols, DType dtype) {
  Unit unit;
  unit.rows = rows;
  unit.cols = cols;
  unit.dtype = dtype;
  for (int64_t p = 0; p < parts; ++p) {
    unit.parts.emplace_back();
    unit.parts.back().view = layout.view(p);
  }
  return unit;
}

template <class Element>
std::vector<Element> read(const Checkpoint& checkpoint, const Unit& unit, int part, int64_t row,
                          int64_t count) {
  std::vector<Element> out(static_cast<size_t>(count * unit.cols));
  checkpoint.prefetch_rows(unit, part, row, count);
  checkpoint.read_rows(unit, part, row, count, reinterpret_cast<std::byte*>(out.data()));
  return out;
}

TEST(ReadRows, AnyStepsGiveWhatTheyGiveOfAWholeTensor) {
  std::mt19937 random(1);
  const auto below = [&](int64_t n) {
    return std::uniform_int_distribution<int64_t>(0, n - 1)(random);
  };
  constexpr std::array kAfterTheFirst = {
      StepKind::kGroup,    StepKind::kFirstHalf, StepKind::kSecondHalf,
      StepKind::kEvenRows, StepKind::kOddRows,   StepKind::kFirstRows,
      StepKind::kLastRows, StepKind::kTranspose, StepKind::kTranspose};
  int transposes = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<SizedStep> steps;
    if (below(2) == 0) steps.push_back({StepKind::kSlice});
    for (int64_t n = below(4); n > 0; --n) {
      const StepKind kind = kAfterTheFirst.at(static_cast<size_t>(below(kAfterTheFirst.size())));
      const bool grouped = std::any_of(steps.begin(), steps.end(), [](const SizedStep& step) {
        return step.kind == StepKind::kSlice || step.kind == StepKind::kGroup;
      });
      if (kind == StepKind::kGroup && grouped) continue;
      steps.push_back({kind, below(5)});
      transposes += kind == StepKind::kTranspose ? 1 : 0;
    }
    const int64_t parts = 1 + below(4);
    const int64_t rows = 1 + below(20);
    const int64_t cols = 1 + below(40);
    const TensorLayout layout(steps, parts, rows, cols);
    const int64_t elements = std::accumulate(layout.shape().begin(), layout.shape().end(),
                                             int64_t{1}, std::multiplies<>());
    const TensorFile file(
        {{"t", DType::kF32, layout.shape(), as_bytes(numbered<uint32_t>(elements))}});
    const Unit unit = unit_of(layout, parts, rows, cols, DType::kF32);
    for (int part = 0; part < parts; ++part) {
      const Matrix whole = truth(steps, layout.shape(), parts, part);
      ASSERT_EQ(std::ssize(whole), rows);
      const int64_t row = below(rows);
      const int64_t count = 1 + below(rows - row);
      const auto found = read<uint32_t>(file.checkpoint, unit, part, row, count);
      for (int64_t i = 0; i < count * cols; ++i) {
        ASSERT_EQ(found[static_cast<size_t>(i)], whole[row + i / cols].at(i % cols))
            << "round " << round << ", part " << part << ", row " << row << "+" << count;
      }
    }
  }
  EXPECT_GT(transposes, 50);
}

// Larger than the buffer, on either axis, with gaps that are read through and gaps that are
// skipped.
TEST(ReadRows, LargeMatricesAreReadInPieces) {
  struct Case {
    std::vector<SizedStep> steps;
    int64_t rows;
    int64_t cols;
  };
  const std::vector<Case> cases = {
      {{{StepKind::kTranspose}}, 2, 700'001},
      {{{StepKind::kTranspose}}, 700'001, 2},
      {{{StepKind::kTranspose}}, 1'201, 1'301},
      {{{StepKind::kEvenRows}}, 3, 600'000},
      {{{StepKind::kOddRows}}, 9'000, 40},
      {{{StepKind::kOddRows}}, 200, 3'000},
      {{{StepKind::kTranspose}, {StepKind::kOddRows}}, 700, 900},
      {{{StepKind::kSlice}, {StepKind::kTranspose}, {StepKind::kSecondHalf}}, 2'500, 300},
  };
  for (size_t c = 0; c < cases.size(); ++c) {
    SCOPED_TRACE(c);
    if (RAM_SANITIZED && c % 2 == 1) continue;  // to save time
    const auto& [steps, rows, cols] = cases[c];
    const TensorLayout layout(steps, 1, rows, cols);
    const int64_t elements = std::accumulate(layout.shape().begin(), layout.shape().end(),
                                             int64_t{1}, std::multiplies<>());
    const std::vector<uint16_t> stored = numbered<uint16_t>(elements);
    const TensorFile file({{"t", DType::kBF16, layout.shape(), as_bytes(stored)}});
    const Unit unit = unit_of(layout, 1, rows, cols, DType::kBF16);
    const Matrix whole = truth(steps, layout.shape(), 1, 0);
    for (const auto& [row, count] : {std::pair<int64_t, int64_t>{0, rows}, {rows / 2, 1}}) {
      const auto found = read<uint16_t>(file.checkpoint, unit, 0, row, count);
      int64_t wrong = 0;
      for (int64_t i = 0; i < count * cols; ++i) {
        wrong += found[static_cast<size_t>(i)] !=
                 stored[static_cast<size_t>(whole[row + i / cols][i % cols])];
      }
      EXPECT_EQ(wrong, 0);
    }
  }
}

TEST(ReadRows, TensorsBelowOneAnotherAreOneMatrixBeforeTheSteps) {
  std::vector<Stored> tensors;
  std::vector<uint32_t> all;
  for (const int64_t rows : {3, 5, 1, 7}) {
    std::vector<uint32_t> own = numbered<uint32_t>(rows * 6);
    for (uint32_t& value : own) value += 1000 * static_cast<uint32_t>(tensors.size());
    all.insert(all.end(), own.begin(), own.end());
    tensors.push_back(
        {"t" + std::to_string(tensors.size()), DType::kF32, {rows, 6}, as_bytes(own)});
  }
  const TensorFile file(tensors);
  for (const auto& steps : std::vector<std::vector<SizedStep>>{
           {}, {{StepKind::kOddRows}}, {{StepKind::kTranspose}}, {{StepKind::kSecondHalf}}}) {
    const bool across = !steps.empty() && steps.front().kind == StepKind::kTranspose;
    const int64_t rows = steps.empty() ? 16 : across ? 6 : 8;
    const int64_t cols = across ? 16 : 6;
    const TensorLayout layout(steps, 1, rows, cols);
    Unit unit = unit_of(layout, 1, rows, cols, DType::kF32);
    unit.parts[0].below = {1, 2, 3};
    const Matrix whole = truth(steps, {16, 6}, 1, 0);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t count = std::min<int64_t>(2, rows - row);
      const auto found = read<uint32_t>(file.checkpoint, unit, 0, row, count);
      for (int64_t i = 0; i < count * cols; ++i) {
        EXPECT_EQ(found[static_cast<size_t>(i)],
                  all[static_cast<size_t>(whole[row + i / cols][i % cols])]);
      }
    }
  }
}

TEST(TensorLayout, ShapesAreThoseOfTheFamiliesToCome) {
  const auto shape = [](std::vector<SizedStep> steps, int64_t parts, int64_t rows, int64_t cols) {
    return TensorLayout(std::move(steps), parts, rows, cols).shape();
  };
  using Shape = std::vector<int64_t>;
  // The keys of MLA: kv_b_proj [heads * (nope + v), kv_lora] to [heads, kv_lora, nope].
  EXPECT_EQ(shape({{StepKind::kGroup}, {StepKind::kFirstRows, 256}, {StepKind::kTranspose}}, 20,
                  512, 192),
            (Shape{20 * (192 + 256), 512}));
  // Its values: [heads, v, kv_lora].
  EXPECT_EQ(shape({{StepKind::kGroup}, {StepKind::kLastRows, 192}}, 20, 256, 512),
            (Shape{20 * (192 + 256), 512}));
  // gpt_oss' gate_up_proj [E, H, 2I], of which the gate is the even columns, transposed.
  EXPECT_EQ(shape({{StepKind::kSlice}, {StepKind::kTranspose}, {StepKind::kEvenRows}}, 32, 90, 64),
            (Shape{32, 64, 180}));
  // llama4's: halves of the last axis, transposed.
  EXPECT_EQ(
      shape({{StepKind::kSlice}, {StepKind::kTranspose}, {StepKind::kSecondHalf}}, 16, 90, 64),
      (Shape{16, 64, 180}));
}

// Storage in other formats than a weight dtype.

std::filesystem::path vectors(const char* name) {
  return std::filesystem::path(RAM_SOURCE_DIR) / "tests/vectors/checkpoint" / name;
}

/// The words of a line after the first; "nan" is a bf16 NaN.
void expect_bf16(const std::vector<uint16_t>& found, std::istringstream& line) {
  std::string word;
  for (const uint16_t bits : found) {
    ASSERT_TRUE(line >> word);
    if (word == "nan") {
      EXPECT_TRUE(std::isnan(bf16_to_f32(bits)));
    } else {
      EXPECT_EQ(bits, std::stoul(word, nullptr, 16));
    }
  }
  EXPECT_FALSE(line >> word);
}

std::vector<uint8_t> all_codes() {
  return numbered<uint8_t>(256);
}

TEST(Fp8Blocks, EveryCodeTimesAScaleIsWhatTorchMakesOfIt) {
  std::ifstream file(vectors("fp8.txt"));
  int lines = 0;
  for (std::string text; std::getline(file, text); ++lines) {
    std::istringstream line(text);
    std::string scale;
    line >> scale;
    const std::vector<uint32_t> scales(2, static_cast<uint32_t>(std::stoul(scale, nullptr, 16)));
    const TensorFile tensors({{"w", DType::kF8E4M3, {1, 256}, as_bytes(all_codes())},
                              {"w_scale_inv", DType::kF32, {1, 2}, as_bytes(scales)}});
    Unit unit = unit_of(TensorLayout({}, 1, 1, 256), 1, 1, 256, DType::kBF16);
    unit.parts[0].storage = StorageFormat::kFp8Blocks;
    unit.parts[0].scales = 1;
    expect_bf16(read<uint16_t>(tensors.checkpoint, unit, 0, 0, 1), line);
  }
  EXPECT_EQ(lines, 32);
}

TEST(Fp8Blocks, TheValuesOfCodesAreThoseOfTheDefinition) {
  EXPECT_EQ(e4m3_to_f32(0x00), 0);
  EXPECT_EQ(e4m3_to_f32(0x01), 0x1p-9F);
  EXPECT_EQ(e4m3_to_f32(0x07), 7 * 0x1p-9F);
  EXPECT_EQ(e4m3_to_f32(0x08), 0x1p-6F);
  EXPECT_EQ(e4m3_to_f32(0x38), 1);
  EXPECT_EQ(e4m3_to_f32(0x7e), 448);
  EXPECT_EQ(e4m3_to_f32(0xfe), -448);
  EXPECT_TRUE(std::isnan(e4m3_to_f32(0x7f)));
  EXPECT_TRUE(std::isnan(e4m3_to_f32(0xff)));
  EXPECT_TRUE(std::signbit(e4m3_to_f32(0x80)));
}

TEST(Fp8Blocks, EachElementHasTheScaleOfItsBlock) {
  std::mt19937 random(3);
  for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {128, 128}, {129, 127}, {300, 260}, {5, 400}, {1'500, 1'100}}) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      std::vector<uint8_t> codes(static_cast<size_t>(rows * cols));
      for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % 127);
      const int64_t down = ceil_div(rows, int64_t{128});
      const int64_t across = ceil_div(cols, int64_t{128});
      std::vector<float> scales(static_cast<size_t>(down * across));
      for (float& scale : scales) scale = std::ldexp(1.0F + random() % 100, -12);
      std::vector<std::byte> stored(scales.size() * static_cast<size_t>(dtype_bytes(dtype)));
      from_f32(scales.data(), dtype, std::ssize(scales), stored.data());
      const TensorFile file({{"w", DType::kF8E4M3, {rows, cols}, as_bytes(codes)},
                             {"w_scale_inv", dtype, {down, across}, stored}});
      // As stored, and transposed: decoding comes first.
      for (const bool across_too : {false, true}) {
        const std::vector<SizedStep> steps =
            across_too ? std::vector<SizedStep>{{StepKind::kTranspose}} : std::vector<SizedStep>{};
        const int64_t r = across_too ? cols : rows;
        const int64_t c = across_too ? rows : cols;
        Unit unit = unit_of(TensorLayout(steps, 1, r, c), 1, r, c, DType::kBF16);
        unit.parts[0].storage = StorageFormat::kFp8Blocks;
        unit.parts[0].scales = 1;
        for (const auto& [row, count] : {std::pair<int64_t, int64_t>{0, r}, {r / 3, 1}}) {
          const auto found = read<uint16_t>(file.checkpoint, unit, 0, row, count);
          int64_t wrong = 0;
          for (int64_t i = 0; i < count * c; ++i) {
            const int64_t y = across_too ? i % c : row + i / c;
            const int64_t x = across_too ? row + i / c : i % c;
            const float value = e4m3_to_f32(codes[static_cast<size_t>(y * cols + x)]) *
                                scales[static_cast<size_t>(y / 128 * across + x / 128)];
            wrong += found[static_cast<size_t>(i)] != f32_to_bf16(value);
          }
          EXPECT_EQ(wrong, 0) << rows << " x " << cols << (across_too ? " transposed" : "");
        }
      }
    }
  }
}

TEST(Mxfp4, EveryCodeTimesAScaleIsWhatTorchMakesOfIt) {
  std::ifstream file(vectors("mxfp4.txt"));
  std::vector<uint8_t> codes(16);
  for (size_t i = 0; i < 16; ++i)
    codes[i] = static_cast<uint8_t>(2 * (i % 8) + 16 * (2 * (i % 8) + 1));
  int lines = 0;
  for (std::string text; std::getline(file, text); ++lines) {
    std::istringstream line(text);
    int scale = 0;
    line >> scale;
    const TensorFile tensors({{"blocks", DType::kU8, {1, 1, 16}, as_bytes(codes)},
                              {"scales", DType::kU8, {1, 1}, {static_cast<std::byte>(scale)}}});
    Unit unit = unit_of(TensorLayout({}, 1, 1, 32), 1, 1, 32, DType::kBF16);
    unit.parts[0].storage = StorageFormat::kMxfp4;
    unit.parts[0].scales = 1;
    std::vector<uint16_t> found = read<uint16_t>(tensors.checkpoint, unit, 0, 0, 1);
    EXPECT_TRUE(std::equal(found.begin(), found.begin() + 16, found.begin() + 16));
    found.resize(16);
    expect_bf16(found, line);
  }
  EXPECT_EQ(lines, 10);
}

// gpt_oss: [E, 2I, H]; even rows are the gate, odd rows the up projection.
TEST(Mxfp4, BlocksAreDecodedBeforeTheSteps) {
  constexpr int64_t kExperts = 3;
  constexpr int64_t kRows = 10;
  constexpr int64_t kCols = 96;
  std::mt19937 random(4);
  std::vector<uint8_t> bytes(kExperts * 2 * kRows * kCols / 2);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  std::vector<uint8_t> scales(kExperts * 2 * kRows * kCols / 32);
  for (uint8_t& scale : scales) scale = static_cast<uint8_t>(120 + random() % 10);
  const TensorFile file(
      {{"blocks", DType::kU8, {kExperts, 2 * kRows, kCols / 32, 16}, as_bytes(bytes)},
       {"scales", DType::kU8, {kExperts, 2 * kRows, kCols / 32}, as_bytes(scales)}});
  constexpr std::array<float, 8> kMagnitudes = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (const bool odd : {false, true}) {
    const TensorLayout layout(
        {{StepKind::kSlice}, {odd ? StepKind::kOddRows : StepKind::kEvenRows}}, kExperts, kRows,
        kCols);
    Unit unit = unit_of(layout, kExperts, kRows, kCols, DType::kBF16);
    for (Part& part : unit.parts) {
      part.storage = StorageFormat::kMxfp4;
      part.scales = 1;
    }
    for (int e = 0; e < kExperts; ++e) {
      const auto found = read<uint16_t>(file.checkpoint, unit, e, 1, kRows - 1);
      for (int64_t i = 0; i < (kRows - 1) * kCols; ++i) {
        const int64_t row = 2 * (1 + i / kCols) + (odd ? 1 : 0);
        const int64_t element = (e * 2 * kRows + row) * kCols + i % kCols;
        const unsigned code = bytes[static_cast<size_t>(element / 2)] >> (element % 2 * 4) & 15U;
        const float sign = (code & 8U) != 0 ? -1.0F : 1.0F;
        const int exponent = scales[static_cast<size_t>(element / 32)] - 127;
        const float value = sign * std::ldexp(kMagnitudes.at(code & 7U), exponent);
        ASSERT_EQ(found[static_cast<size_t>(i)], f32_to_bf16(value)) << i;
      }
    }
  }
}

}  // namespace
}  // namespace ram
