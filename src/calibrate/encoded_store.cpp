// One file per unit: a head with its key and the hash of the bytes, then codes, scales and biases
// of each part, as they will be stored.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <mutex>
#include <optional>
#include <set>
#include <system_error>

#include <fmt/format.h>

#include "ram/calibrate.h"
#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/file.h"
#include "ram/hash.h"

namespace ram {

namespace fs = std::filesystem;

namespace {

constexpr size_t kKeyBytes = 32;
constexpr size_t kHeadBytes = 128;  // key, digest of the rest, three numbers, padding

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

Head parse_head(const std::string& text) {
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

constexpr const char* kLockName = "lock";

/// Links resolved, so that two names of one output have one folder.
fs::path folder_beside(const fs::path& out) {
  std::error_code failed;
  fs::path folder = fs::weakly_canonical(fs::absolute(out), failed);
  if (failed) fail_errno(true, "cannot resolve", out.string(), failed.value());
  if (!folder.has_filename()) folder = folder.parent_path();
  return work_folders(folder).encoded;
}

/// The files of a folder, except those of its lock.
std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code ignored;
  for (fs::directory_iterator at(folder, ignored), end; !ignored && at != end;
       at.increment(ignored)) {
    if (!FileLock::is_file_of(folder / kLockName, at->path())) files.push_back(at->path());
  }
  return files;
}

}  // namespace

struct EncodedStore::State {
  const Checkpoint& checkpoint;
  std::vector<UnitFormat> formats;
  DType dtype;
  EncodedFolder& folder;
  std::string circumstances;

  const Unit& unit(int index) const { return checkpoint.units.at(static_cast<size_t>(index)); }
  AffineFormat format(int index) const { return *formats.at(static_cast<size_t>(index)); }

  Sizes sizes(int index) const {
    const Unit& use = unit(index);
    return {.codes = use.rows * use.cols * format(index).bits / 8,
            .scales = use.rows * (use.cols / format(index).group_size) * dtype_bytes(dtype)};
  }
  std::string key(int index) const {
    return hash_text(
        fmt::format("{}\n{}\n{}\n", circumstances, unit(index).name, format_name(format(index))));
  }
  fs::path path(int index) const { return folder.path() / key(index); }
  int64_t file_bytes(int index) const {
    return static_cast<int64_t>(kHeadBytes) + std::ssize(unit(index).parts) * sizes(index).part();
  }
  bool is_there(int index) const {
    const fs::path file = path(index);
    std::error_code ignored;
    return fs::is_regular_file(file, ignored) &&
           static_cast<int64_t>(fs::file_size(file, ignored)) == file_bytes(index);
  }
  std::vector<int> units() const {
    std::vector<int> all;
    for (size_t u = 0; u < formats.size(); ++u) {
      if (formats[u]) all.push_back(static_cast<int>(u));
    }
    return all;
  }
  void check(int index, const InputFile& file) const;

  /// The identity of one unit's file when its digest was correct. One worker at a time checks a
  /// unit.
  struct Checked {
    std::mutex mutex;
    std::optional<FileIdentity> file;
  };
  mutable std::vector<Checked> checked;
};

/// @throws Error{kCorrupt} the file is not what was stored.
void EncodedStore::State::check(int index, const InputFile& file) const {
  Checked& known = checked.at(static_cast<size_t>(index));
  const std::lock_guard lock(known.mutex);
  if (known.file == file.identity()) return;
  constexpr int64_t kPiece = int64_t{1} << 20;
  bool whole = file.size() == file_bytes(index);
  if (whole) {
    std::string text(kHeadBytes, ' ');
    file.read(0, std::as_writable_bytes(std::span(text)));
    const Head head = parse_head(text);
    Hasher hasher;
    std::vector<std::byte> piece(static_cast<size_t>(std::min(kPiece, file.size())));
    for (auto at = static_cast<int64_t>(kHeadBytes); at < file.size();) {
      check_interrupted();
      const auto count = static_cast<size_t>(std::min(std::ssize(piece), file.size() - at));
      file.read(at, std::span(piece).first(count));
      hasher.update(std::span<const std::byte>(piece).first(count));
      at += static_cast<int64_t>(count);
    }
    whole = head.key == key(index) && head.digest == hasher.digest();
  }
  if (!whole) {
    fail(Code::kCorrupt,
         "{}: the compressed {} is damaged; run the same command again, which compresses it anew",
         file.path().string(), unit(index).name);
  }
  known.file = file.identity();
}

EncodedFolder::EncodedFolder(const fs::path& out) : out_(out), path_(folder_beside(out)) {
  std::error_code ignored;
  for (fs::path parent = path_.parent_path(); !fs::exists(parent, ignored);
       parent = parent.parent_path()) {
    made_parents_.push_back(parent);
  }
  // The previous program removes the folder as its last step: then try again.
  constexpr int kAttempts = 3;
  const std::string busy = fmt::format(
      "another program is compressing for {}: wait for it, or give another name", out.string());
  for (int i = 1; lock_ == nullptr; ++i) {
    try {
      std::error_code failed;
      fs::create_directories(path_, failed);
      if (failed) fail_errno(true, "cannot create", path_.string(), failed.value());
      lock_ = std::make_unique<FileLock>(path_ / kLockName, busy);
    } catch (const Error& error) {
      if (error.code() == Code::kWriteFailed && !fs::exists(path_, ignored) && i < kAttempts)
        continue;
      remove_empty();
      throw;
    }
  }
}

EncodedFolder::~EncodedFolder() {
  if (!files_of(path_).empty()) return;
  // A waiting program may make a new lock at once; the folder is then that program's and is kept.
  lock_->remove_file();
  remove_empty();
}

void EncodedFolder::remove_empty() {
  std::error_code ignored;
  fs::remove(path_, ignored);
  for (const fs::path& parent : made_parents_) fs::remove(parent, ignored);
}

int64_t EncodedFolder::bytes() const {
  int64_t sum = 0;
  for (const fs::path& file : files_of(path_)) {
    std::error_code failed;
    const auto size = static_cast<int64_t>(fs::file_size(file, failed));
    if (!failed) sum += size;
  }
  return sum;
}

void EncodedFolder::clear() {
  std::error_code ignored;
  for (const fs::path& file : files_of(path_)) fs::remove_all(file, ignored);
}

EncodedStore::EncodedStore(const Checkpoint& checkpoint, std::span<const UnitFormat> formats,
                           DType dtype, EncodedFolder& folder, std::string circumstances)
    : state_(new State{.checkpoint = checkpoint,
                       .formats = {formats.begin(), formats.end()},
                       .dtype = dtype,
                       .folder = folder,
                       .circumstances = std::move(circumstances),
                       .checked = std::vector<State::Checked>(formats.size())}) {}

EncodedStore::~EncodedStore() = default;

int64_t EncodedStore::bytes() const {
  int64_t bytes = 0;
  for (const int unit : state_->units()) bytes += state_->file_bytes(unit);
  return bytes;
}

int64_t EncodedStore::missing_bytes() const {
  int64_t bytes = 0;
  for (const int unit : state_->units()) {
    if (!state_->is_there(unit)) bytes += state_->file_bytes(unit);
  }
  return bytes;
}

void EncodedStore::remove_others() {
  std::set<std::string> own;
  for (const int unit : state_->units()) own.insert(state_->key(unit));
  std::error_code ignored;
  for (const fs::path& file : files_of(state_->folder.path())) {
    if (!own.contains(file.filename().string())) fs::remove_all(file, ignored);
  }
}

std::optional<CompressedUnit> EncodedStore::find(int unit) const {
  if (!state_->is_there(unit)) return std::nullopt;
  const Sizes sizes = state_->sizes(unit);
  const auto parts = std::ssize(state_->unit(unit).parts);
  const InputFile file(state_->path(unit));
  std::string text(kHeadBytes, ' ');
  file.read(0, std::as_writable_bytes(std::span(text)));
  const Head head = parse_head(text);
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
  // The key identifies the model by its content when it was opened.
  state_->checkpoint.check_unchanged();
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
  const fs::path path = state_->path(unit);
  if (!state_->is_there(unit)) {
    fail(Code::kCorrupt,
         "{}: the compressed {} is missing or damaged; run the same command again, which "
         "compresses it anew",
         path.string(), state_->unit(unit).name);
  }
  const InputFile file(path);  // not kept open: there may be more units than allowed open files
  state_->check(unit, file);
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

}  // namespace ram
