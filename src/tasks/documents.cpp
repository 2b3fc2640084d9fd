// Reading JSON lines, and saying where they are wrong.
#include "documents.h"

#include <array>
#include <memory>
#include <system_error>

#include <fmt/format.h>
#include <zlib.h>

#include "ram/error.h"
#include "ram/hash.h"
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

// Plain files come through zlib unchanged.
std::string read_unpacked(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) {
    fail(Code::kMissing, "{}: no such file", path.string());
  }
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (file == nullptr) fail(Code::kMissing, "{}: it cannot be read", path.string());
  std::string content;
  std::array<char, 1 << 16> buffer{};
  for (;;) {
    const int got = gzread(file.get(), buffer.data(), buffer.size());
    int status = Z_OK;
    const char* message = gzerror(file.get(), &status);
    // What ends too early is an error that only comes with the last read.
    if (got < 0 || status != Z_OK) {
      fail(Code::kCorrupt, "{}: damaged gzip ({})", path.string(), message);
    }
    content.append(buffer.data(), static_cast<size_t>(got));
    if (content.size() > kLargestData) {
      fail(Code::kUnsupported, "{}: more than {} unpacked", path.string(),
           format_bytes(static_cast<int64_t>(kLargestData)));
    }
    if (got == 0) return content;
  }
}

std::string type_of(const Json& value) {
  return value.type_name();
}

}  // namespace

void Document::reject(const std::string& what) const {
  // What is wrong may name fields, which come from the file.
  constexpr size_t kLongest = 400;
  fail(Code::kCorrupt, "{} line {}: {}", file_, line_, printable(what, kLongest));
}

const Json& Document::at(const char* field) const {
  const auto found = content_.find(field);
  if (found != content_.end()) return *found;
  std::string there;
  for (const auto& [name, value] : content_.items()) there += (there.empty() ? "" : ", ") + name;
  reject(fmt::format("no field '{}' (there are: {})", field, there));
}

std::string Document::text(const char* field) const {
  const Json& value = at(field);
  if (!value.is_string()) {
    reject(fmt::format("field '{}' is of type {}, not a text", field, type_of(value)));
  }
  return value.get<std::string>();
}

std::vector<std::string> Document::texts(const char* field) const {
  const Json& value = at(field);
  if (!value.is_array()) {
    reject(fmt::format("field '{}' is of type {}, not a list of texts", field, type_of(value)));
  }
  std::vector<std::string> texts;
  for (const Json& entry : value) {
    if (!entry.is_string()) {
      reject(fmt::format("field '{}' has an entry of type {}, not a text", field, type_of(entry)));
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
      return std::stoll(digits);
    }
  }
  reject(fmt::format("field '{}' is not an integer: {}", field, value.dump().substr(0, 60)));
}

Document Document::inner(const char* field) const {
  const Json& value = at(field);
  if (!value.is_object()) {
    reject(fmt::format("field '{}' is of type {}, not an object", field, type_of(value)));
  }
  return {value, file_, line_, index_};
}

std::string Document::text_or(const char* field, std::string otherwise) const {
  const auto found = content_.find(field);
  if (found == content_.end() || found->is_null()) return otherwise;
  if (found->is_number_integer()) return std::to_string(found->get<int64_t>());
  return text(field);
}

namespace {

Json parse_line(std::string_view text, const std::string& file, int64_t line) {
  constexpr const char* kExpected = "a data file has one JSON object on each line";
  const std::string where = fmt::format("{} line {}", file, line);
  Json parsed;
  try {
    parsed = parse_json(text, where);
  } catch (const Error& error) {
    fail(error.code(), "{}; {}", error.what(), kExpected);
  }
  if (!parsed.is_object()) fail(Code::kCorrupt, "{}: not a JSON object; {}", where, kExpected);
  return parsed;
}

}  // namespace

DocumentFile read_documents(const fs::path& path) {
  if (path.extension() == ".parquet") {
    fs::path out = path.filename();
    fail(Code::kUnsupported, "{}: parquet is not read here; convert it: {}", path.string(),
         convert_command(path, out.replace_extension(".jsonl")));
  }
  const std::string content = read_unpacked(path);
  DocumentFile file{.path = path.string(), .digest = hash_text(content), .documents = {}};
  int64_t line = 0;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    const std::string_view text = std::string_view(content).substr(begin, end - begin);
    begin = end + 1;
    ++line;
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    file.documents.emplace_back(parse_line(text, path.string(), line), path.string(), line,
                                std::ssize(file.documents));
  }
  if (file.documents.empty()) fail(Code::kCorrupt, "{}: no question in it", path.string());
  return file;
}

fs::path find_documents(const fs::path& folder, std::string_view stem) {
  for (const char* suffix : {".jsonl", ".jsonl.gz", ".json", ".json.gz"}) {
    fs::path path = folder / (std::string(stem) + suffix);
    std::error_code ignored;
    if (fs::exists(path, ignored)) return path;
  }
  return {};
}

void fail_without(const fs::path& folder, std::string_view stem, const char* source) {
  const fs::path out = folder / (std::string(stem) + ".jsonl");
  const fs::path parquet = folder / (std::string(stem) + ".parquet");
  std::error_code ignored;
  if (fs::exists(parquet, ignored)) {
    fail(Code::kMissing, "{}: not there; parquet is not read here, convert it: {}", out.string(),
         convert_command(parquet, out));
  }
  fail(Code::kMissing,
       "{}: not there, nor as .jsonl.gz; make it: python3 -c \"import datasets; "
       "datasets.load_dataset({}).to_json('{}')\"",
       out.string(), source, out.string());
}

}  // namespace ram
