// Reads JSON lines, and reports where they are wrong.
#include "documents.h"

#include <array>
#include <memory>
#include <system_error>

#include <fmt/format.h>
#include <zlib.h>

#include "ram/error.h"
#include "ram/hash.h"
#include "ram/json.h"
#include "ram/number.h"
#include "ram/size.h"
#include "ram/text.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kLargestData = size_t{1} << 30;

std::string convert_command(const fs::path& parquet, const fs::path& out) {
  return fmt::format(
      "python3 -c \"import pandas; pandas.read_parquet('{}').to_json('{}', orient='records', "
      "lines=True)\"",
      parquet.string(), out.string());
}

// Approximate memory of a value: a node of an object, an element of an array, and the allocation of
// an empty object or array.
constexpr int64_t kNodeBytes = 112;
constexpr int64_t kElementBytes = sizeof(Json);
constexpr int64_t kObjectBytes = 64;
constexpr int64_t kArrayBytes = 40;
// Upper bound per byte of its text, including growing arrays: `{},` of 3 bytes is an object and an
// element of an array that doubles, `[[...]]` an array for each 2 bytes; `{"a":1,` and texts take
// less.
constexpr int64_t kMostPerByte = 48;

int64_t bytes_of(const Json& value) {
  int64_t bytes = kElementBytes;
  if (const auto* text = value.get_ptr<const std::string*>()) {
    bytes += static_cast<int64_t>(sizeof(std::string) + text->capacity());
  } else if (const auto* array = value.get_ptr<const Json::array_t*>()) {
    bytes += kArrayBytes + static_cast<int64_t>(array->capacity() - array->size()) * kElementBytes;
    for (const Json& inner : value) bytes += bytes_of(inner);
  } else if (value.is_object()) {
    bytes += kObjectBytes;
    for (const auto& [name, inner] : value.items()) {
      bytes += kNodeBytes + static_cast<int64_t>(name.size()) + bytes_of(inner);
    }
  }
  return bytes;
}

/// The lines of a file, unpacked on demand. Plain files pass through zlib unchanged.
class Lines {
 public:
  /// @param memory the longest line must fit it when parsed.
  Lines(const fs::path& path, const DataMemory& memory)
      : path_(path), memory_(memory), file_(nullptr, gzclose) {
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored)) {
      fail(Code::kMissing, "{}: no such file", path.string());
    }
    file_.reset(gzopen(path.c_str(), "rb"));
    if (file_ == nullptr) fail(Code::kMissing, "{}: it cannot be read", path.string());
  }

  /// @return false after the last line.
  bool next(std::string& line) {
    line.clear();
    for (;;) {
      const std::string_view rest = std::string_view(buffer_.data(), size_).substr(at_);
      const size_t end = std::min(rest.find('\n'), rest.size());
      line.append(rest.substr(0, end));
      at_ += std::min(end + 1, rest.size());
      if (std::ssize(line) > memory_.left() / kMostPerByte) {
        DataMemory(memory_).take(kMostPerByte * std::ssize(line), path_.string());
      }
      if (end < rest.size()) return true;
      if (!fill()) return !line.empty();
    }
  }

  std::string digest() { return hasher_.digest(); }

 private:
  bool fill() {
    const int got = gzread(file_.get(), buffer_.data(), static_cast<unsigned>(buffer_.size()));
    int status = Z_OK;
    const char* message = gzerror(file_.get(), &status);
    // A truncated file is reported only by the last read.
    if (got < 0 || status != Z_OK) {
      fail(Code::kCorrupt, "{}: damaged gzip ({})", path_.string(), message);
    }
    at_ = 0;
    size_ = static_cast<size_t>(got);
    unpacked_ += size_;
    hasher_.update(std::string_view(buffer_.data(), size_));
    if (unpacked_ > kLargestData) {
      fail(Code::kUnsupported, "{}: more than {} unpacked", path_.string(),
           format_bytes(static_cast<int64_t>(kLargestData)));
    }
    return got > 0;
  }

  fs::path path_;
  const DataMemory& memory_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
  std::array<char, 1 << 16> buffer_{};
  size_t at_ = 0;
  size_t size_ = 0;
  size_t unpacked_ = 0;
  Hasher hasher_;
};

std::string type_of(const Json& value) {
  return value.type_name();
}

}  // namespace

void DataMemory::take(int64_t bytes, const std::string& file) {
  if (bytes > left_) {
    fail(Code::kUsage,
         "{}: its questions take more memory than the {} available: give more --memory, or "
         "a part of the file",
         file, format_bytes(bytes_));
  }
  left_ -= bytes;
}

void Document::reject(const std::string& what) const {
  // The message may name fields, which come from the file.
  constexpr size_t kLongest = 400;
  fail(Code::kCorrupt, "{} line {}: {}", file_, line_, printable(what, kLongest));
}

const Json& Document::at(const char* field) const {
  const auto found = content_->find(field);
  if (found != content_->end()) return *found;
  std::string there;
  for (const auto& [name, value] : content_->items()) there += (there.empty() ? "" : ", ") + name;
  reject(fmt::format("no field '{}' (there are: {})", field, there));
}

std::string Document::text(const char* field) const {
  const Json& value = at(field);
  if (!value.is_string()) {
    reject(fmt::format("field '{}' is of type {}, not a string", field, type_of(value)));
  }
  return value.get<std::string>();
}

std::vector<std::string> Document::texts(const char* field) const {
  const Json& value = at(field);
  if (!value.is_array()) {
    reject(fmt::format("field '{}' is of type {}, not a list of strings", field, type_of(value)));
  }
  std::vector<std::string> texts;
  for (const Json& entry : value) {
    if (!entry.is_string()) {
      reject(
          fmt::format("field '{}' has an entry of type {}, not a string", field, type_of(entry)));
    }
    texts.push_back(entry.get<std::string>());
  }
  return texts;
}

int64_t Document::integer(const char* field) const {
  const Json& value = at(field);
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_string()) {
    const auto& digits = value.get_ref<const std::string&>();
    constexpr size_t kMostDigits = 9;
    if (!digits.empty() && digits.size() <= kMostDigits &&
        digits.find_first_not_of("0123456789") == std::string::npos) {
      return static_cast<int64_t>(parse_number(digits).value_or(0));
    }
  }
  reject(fmt::format("field '{}' is not an integer: {}", field, value.dump().substr(0, 60)));
}

Document Document::inner(const char* field) const {
  const Json& value = at(field);
  if (!value.is_object()) {
    reject(fmt::format("field '{}' is of type {}, not an object", field, type_of(value)));
  }
  return {JsonTree(value), file_, line_, index_};
}

std::string Document::text_or(const char* field, std::string otherwise) const {
  const auto found = content_->find(field);
  if (found == content_->end() || found->is_null()) return otherwise;
  if (found->is_number_integer()) return std::to_string(found->get<int64_t>());
  return text(field);
}

namespace {

JsonTree parse_line(std::string_view text, const std::string& file, int64_t line) {
  constexpr const char* kExpected = "a data file has one JSON object on each line";
  const std::string where = fmt::format("{} line {}", file, line);
  try {
    JsonTree parsed(parse_json(text, where));
    if (parsed->is_object()) return parsed;
  } catch (const Error& error) {
    fail(error.code(), "{}; {}", error.what(), kExpected);
  }
  fail(Code::kCorrupt, "{}: not a JSON object; {}", where, kExpected);
}

}  // namespace

DocumentFile read_documents(const fs::path& path, DataMemory& memory) {
  if (path.extension() == ".parquet") {
    fs::path out = path.filename();
    fail(Code::kUnsupported, "{}: parquet is not supported; convert it: {}", path.string(),
         convert_command(path, out.replace_extension(".jsonl")));
  }
  DocumentFile file{.path = path.string(), .digest = {}, .documents = {}};
  Lines lines(path, memory);
  std::string text;
  for (int64_t line = 1; lines.next(text); ++line) {
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    JsonTree parsed = parse_line(text, file.path, line);
    memory.take(bytes_of(*parsed) + static_cast<int64_t>(sizeof(Document) + file.path.size()),
                file.path);
    file.documents.emplace_back(std::move(parsed), file.path, line, std::ssize(file.documents));
  }
  file.digest = lines.digest();
  if (file.documents.empty()) fail(Code::kCorrupt, "{}: it has no questions", path.string());
  return file;
}

fs::path find_documents(const fs::path& folder, std::string_view stem) {
  for (const char* suffix : {".jsonl", ".jsonl.gz", ".json", ".json.gz"}) {
    fs::path path = folder / (std::string(stem) + suffix);
    std::error_code ignored;
    // A folder or pipe of that name does not hide a readable file.
    if (fs::is_regular_file(path, ignored)) return path;
  }
  return {};
}

void fail_without(const fs::path& folder, std::string_view stem, const char* source) {
  const fs::path out = folder / (std::string(stem) + ".jsonl");
  const fs::path parquet = folder / (std::string(stem) + ".parquet");
  std::error_code ignored;
  if (fs::exists(parquet, ignored)) {
    fail(Code::kMissing, "{}: does not exist; parquet is not supported, convert it: {}",
         out.string(), convert_command(parquet, out));
  }
  fail(Code::kMissing,
       "{}: does not exist, nor does .jsonl.gz; make it: python3 -c \"import datasets; "
       "datasets.load_dataset({}).to_json('{}')\"",
       out.string(), source, out.string());
}

}  // namespace ram
