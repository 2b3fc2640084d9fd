// A file per unit: a line that says whose it is and what the bytes hash to, then per part codes,
// scales and biases, as they will be stored.
#include <bit>
#include <cstring>
#include <system_error>

#include <fmt/format.h>

#include "ram/calibrate.h"
#include "ram/error.h"
#include "ram/file.h"
#include "ram/hash.h"

namespace ram {

namespace fs = std::filesystem;

namespace {

constexpr size_t kKeyBytes = 32;
constexpr size_t kHeadBytes = 128;  // key, digest of what follows, three numbers, padding

/// Bytes of the pieces of one part.
struct Sizes {
  int64_t codes = 0;
  int64_t scales = 0;
  int64_t part() const { return codes + 2 * scales; }
};

struct Head {
  std::string key;
  std::string digest;
  double squared_error = 0;
  double sum_squares = 0;
  double output_error = 0;
  int64_t starved_parts = 0;
};

std::string render(const Head& head) {
  std::string text = fmt::format("{}{}{:016x}{:016x}{:016x}{:x}\n", head.key, head.digest,
                                 std::bit_cast<uint64_t>(head.squared_error),
                                 std::bit_cast<uint64_t>(head.sum_squares),
                                 std::bit_cast<uint64_t>(head.output_error), head.starved_parts);
  text.resize(kHeadBytes, ' ');
  return text;
}

Head parse(const std::string& text) {
  Head head;
  head.key = text.substr(0, kKeyBytes);
  head.digest = text.substr(kKeyBytes, kKeyBytes);
  const auto number = [&text](size_t which) {
    const std::string digits = text.substr(2 * kKeyBytes + 16 * which, 16);
    return static_cast<uint64_t>(std::strtoull(digits.c_str(), nullptr, 16));
  };
  head.squared_error = std::bit_cast<double>(number(0));
  head.sum_squares = std::bit_cast<double>(number(1));
  head.output_error = std::bit_cast<double>(number(2));
  head.starved_parts = static_cast<int64_t>(number(3));
  return head;
}

}  // namespace

struct EncodedStore::State {
  const Checkpoint& checkpoint;
  std::vector<UnitFormat> formats;
  DType dtype;
  fs::path folder;
  std::string circumstances;

  const Unit& unit(int index) const { return checkpoint.units.at(static_cast<size_t>(index)); }
  AffineFormat format(int index) const { return *formats.at(static_cast<size_t>(index)); }

  Sizes sizes(int index) const {
    const Unit& use = unit(index);
    return {.codes = use.rows * use.cols * format(index).bits / 8,
            .scales = use.rows * (use.cols / format(index).group_size) * dtype_bits(dtype) / 8};
  }
  std::string key(int index) const {
    return hash_text(
        fmt::format("{}\n{}\n{}\n", circumstances, unit(index).name, format_name(format(index))));
  }
  fs::path path(int index) const { return folder / key(index); }
};

EncodedStore::EncodedStore(const Checkpoint& checkpoint, std::span<const UnitFormat> formats,
                           DType dtype, fs::path folder, std::string circumstances)
    : state_(new State{.checkpoint = checkpoint,
                       .formats = {formats.begin(), formats.end()},
                       .dtype = dtype,
                       .folder = std::move(folder),
                       .circumstances = std::move(circumstances)}) {
  std::error_code failed;
  fs::create_directories(state_->folder, failed);
  if (failed) fail_errno(true, "cannot create", state_->folder.string(), failed.value());
}

EncodedStore::~EncodedStore() = default;

std::optional<CompressedUnit> EncodedStore::find(int unit) const {
  const fs::path path = state_->path(unit);
  std::error_code ignored;
  const Sizes sizes = state_->sizes(unit);
  const auto parts = std::ssize(state_->unit(unit).parts);
  const auto expected = static_cast<uintmax_t>(parts * sizes.part()) + kHeadBytes;
  if (!fs::is_regular_file(path, ignored) || fs::file_size(path, ignored) != expected) {
    return std::nullopt;
  }
  const InputFile file(path);
  std::string text(kHeadBytes, ' ');
  file.read(0, std::as_writable_bytes(std::span(text)));
  const Head head = parse(text);
  if (head.key != state_->key(unit)) return std::nullopt;
  CompressedUnit found;
  found.unit = unit;
  found.squared_error = head.squared_error;
  found.sum_squares = head.sum_squares;
  found.output_error = head.output_error;
  found.starved_parts = head.starved_parts;
  Hasher hasher;
  auto at = static_cast<int64_t>(kHeadBytes);
  const auto take = [&](std::span<std::byte> bytes) {
    file.read(at, bytes);
    hasher.update(bytes);
    at += std::ssize(bytes);
  };
  for (int64_t part = 0; part < parts; ++part) {
    EncodedMatrix& matrix = found.parts.emplace_back();
    matrix.codes.resize(static_cast<size_t>(sizes.codes / 4));
    matrix.scales.resize(static_cast<size_t>(sizes.scales));
    matrix.biases.resize(static_cast<size_t>(sizes.scales));
    take(std::as_writable_bytes(std::span(matrix.codes)));
    take(matrix.scales);
    take(matrix.biases);
  }
  if (hasher.digest() != head.digest) return std::nullopt;
  return found;
}

void EncodedStore::put(const CompressedUnit& unit) {
  const fs::path path = state_->path(unit.unit);
  const fs::path beside = path.string() + ".part";
  Hasher hasher;
  try {
    OutputFile file(beside);
    auto at = static_cast<int64_t>(kHeadBytes);
    const auto give = [&](std::span<const std::byte> bytes) {
      hasher.update(bytes);
      file.write(at, bytes);
      at += std::ssize(bytes);
    };
    for (const EncodedMatrix& part : unit.parts) {
      give(std::as_bytes(std::span(part.codes)));
      give(part.scales);
      give(part.biases);
    }
    const std::string head = render({.key = state_->key(unit.unit),
                                     .digest = hasher.digest(),
                                     .squared_error = unit.squared_error,
                                     .sum_squares = unit.sum_squares,
                                     .output_error = unit.output_error,
                                     .starved_parts = unit.starved_parts});
    file.write(0, std::as_bytes(std::span(head)));
    file.finish();
  } catch (const Error&) {
    std::error_code ignored;
    fs::remove(beside, ignored);
    throw;
  }
  rename_durably(beside, path);
}

void EncodedStore::read_rows(int unit, int part, int64_t row, int64_t count, uint32_t* codes,
                             std::byte* scales, std::byte* biases) const {
  const InputFile file(state_->path(unit));  // not kept: there may be more units than open files
  const Sizes sizes = state_->sizes(unit);
  const int64_t rows = state_->unit(unit).rows;
  const int64_t begin = static_cast<int64_t>(kHeadBytes) + part * sizes.part();
  const auto take = [&](int64_t offset, int64_t all, std::byte* out) {
    const int64_t each = all / rows;
    file.read(begin + offset + row * each, {out, static_cast<size_t>(count * each)});
  };
  take(0, sizes.codes, reinterpret_cast<std::byte*>(codes));
  take(sizes.codes, sizes.scales, scales);
  take(sizes.codes + sizes.scales, sizes.scales, biases);
}

void EncodedStore::remove() {
  std::error_code ignored;
  fs::remove_all(state_->folder, ignored);
}

}  // namespace ram
