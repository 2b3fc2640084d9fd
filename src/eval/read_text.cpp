// From a file to text: what is read, what is refused, and what is no part of the text
// (docs/evaluation.md, "The rows").
#include <algorithm>
#include <array>
#include <cctype>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/eval.h"
#include "ram/hash.h"
#include "ram/json.h"
#include "ram/size.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// Files that are no text, by their first bytes, and what to do with them.
struct Foreign {
  size_t at;
  std::string_view magic;
  std::string_view what;
  std::string_view remedy;
};
constexpr std::string_view kToText = "write its text to a .txt or .jsonl file first";
constexpr std::string_view kConvert = "convert it, as with iconv -f UTF-16 -t UTF-8";
constexpr std::array<Foreign, 10> kForeign = {{
    {0, "\x1f\x8b", "gzip", "unpack it first, as with gunzip -k"},
    {0, "\x28\xb5\x2f\xfd", "Zstandard", "unpack it first, as with unzstd"},
    {0, "\xfd\x37zXZ", "xz", "unpack it first, as with unxz -k"},
    {4, "1AY&SY", "bzip2", "unpack it first, as with bunzip2 -k"},
    {0, "PK\x03\x04", "a zip archive", "unpack it first, as with unzip"},
    {0, "PAR1", "a Parquet table", kToText},
    {0, "ARROW1", "an Arrow table", kToText},
    {0, "%PDF-", "PDF", kToText},
    {0, "\xff\xfe", "UTF-16", kConvert},
    {0, "\xfe\xff", "UTF-16", kConvert},
}};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

void refuse_foreign(const fs::path& path, const InputFile& file) {
  std::string first(static_cast<size_t>(std::min<int64_t>(16, file.size())), '\0');
  file.read(0, std::as_writable_bytes(std::span(first)));
  for (const Foreign& foreign : kForeign) {
    if (first.size() < foreign.at || !first.substr(foreign.at).starts_with(foreign.magic)) continue;
    fail(Code::kUnsupported, "text {}: it is {}, not UTF-8 text; {}", path.string(), foreign.what,
         foreign.remedy);
  }
  if (lower(path.extension().string()) == ".json") {
    fail(Code::kUnsupported,
         "text {}: a JSON document is no text to score; write its text to a .txt file, or as "
         ".jsonl with {{\"text\": ...}} on each line",
         path.string());
  }
  if (file.size() > kLargestText) {
    fail(Code::kUnsupported,
         "text {}: {}, and at most {} are read; cut it, as with head -c {} (a sample of rows needs "
         "no more)",
         path.string(), format_bytes(file.size()), format_bytes(kLargestText), kLargestText);
  }
}

void check_utf8(const fs::path& path, std::string_view text) {
  const size_t good = well_formed_utf8(text);
  if (good == text.size()) return;
  fail(Code::kCorrupt, "text {}: not UTF-8 at byte {} (0x{:02x}); convert it, as with iconv",
       path.string(), good, static_cast<unsigned char>(text[good]));
}

bool is_blank(std::string_view line) {
  return std::all_of(line.begin(), line.end(),
                     [](unsigned char c) { return std::isspace(c) != 0; });
}

// Finds the field "text" of one object, without building what lies beside it.
class TextField : public nlohmann::json_sax<Json> {
 public:
  bool is_object = false;
  std::vector<std::string> fields;  // the first few, for the message
  std::optional<std::string> found;

  bool null() override { return value(); }
  bool boolean(bool /*value*/) override { return value(); }
  bool number_integer(number_integer_t /*value*/) override { return value(); }
  bool number_unsigned(number_unsigned_t /*value*/) override { return value(); }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return value(); }
  bool binary(binary_t& /*value*/) override { return value(); }
  bool string(string_t& text) override {
    if (depth_ == 1 && here_) found = std::move(text);
    return value();
  }
  bool start_object(std::size_t /*size*/) override { return open(true); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t /*size*/) override { return open(false); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (depth_ != 1) return true;
    here_ = name == "text";
    constexpr size_t kShown = 8;
    if (fields.size() < kShown) fields.push_back(name);
    return true;
  }
  bool parse_error(std::size_t /*at*/, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    return false;
  }

 private:
  bool value() {
    here_ = false;
    return true;
  }
  bool open(bool object) {
    if (depth_ == 0) is_object = object;
    here_ = here_ && depth_ != 1;  // "text" is a list or an object: not the text
    ++depth_;
    return true;
  }
  bool close() {
    --depth_;
    return true;
  }

  int64_t depth_ = 0;
  bool here_ = false;  // the next value is that of the field
};

// The line with 0 for each number: one that no double holds, or Python's NaN and Infinity, is no
// reason to refuse the text beside it.
std::string without_numbers(std::string_view line) {
  std::string out;
  bool in_string = false;
  for (size_t at = 0; at < line.size(); ++at) {
    const char c = line[at];
    if (in_string) {
      out += c;
      if (c == '\\' && at + 1 < line.size()) out += line[++at];
      in_string = c != '"';
      continue;
    }
    if (std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '-' || c == 'N' || c == 'I') {
      out += '0';
      while (at + 1 < line.size() &&
             (std::isalnum(static_cast<unsigned char>(line[at + 1])) != 0 || line[at + 1] == '.' ||
              line[at + 1] == '+' || line[at + 1] == '-')) {
        ++at;
      }
      continue;
    }
    in_string = c == '"';
    out += c;
  }
  return out;
}

std::string documents_of(const fs::path& path, std::string_view content, int64_t& count) {
  std::string joined;
  int64_t line = 0;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    const std::string_view text = content.substr(begin, end - begin);
    begin = end + 1;
    ++line;
    if (is_blank(text)) continue;
    TextField field;
    if (!Json::sax_parse(without_numbers(text), &field) || !field.is_object) {
      fail(Code::kCorrupt,
           "text {} line {}: not a JSON object; a .jsonl file has one with a field \"text\" on "
           "each line (rename it to .txt to score it as it is)",
           path.string(), line);
    }
    if (!field.found) {
      fail(Code::kCorrupt,
           "text {} line {}: no text in a field \"text\" (there are: {}); rename the field, or "
           "write the text itself to a .txt file",
           path.string(), line, fmt::join(field.fields, ", "));
    }
    ++count;
    if (is_blank(*field.found)) continue;
    if (!joined.empty()) joined += "\n\n";
    joined += *field.found;
  }
  return joined;
}

// As Python opens text: "\r\n" and "\r" end a line as "\n" does.
// @source Python, io.TextIOWrapper, newline=None (which `datasets` reads text with)
bool end_lines_with_newline(std::string& text) {
  const size_t first = text.find('\r');
  if (first == std::string::npos) return false;
  size_t to = first;
  for (size_t from = first; from < text.size(); ++from) {
    const bool pair = text[from] == '\r' && from + 1 < text.size() && text[from + 1] == '\n';
    if (pair) continue;
    text[to++] = text[from] == '\r' ? '\n' : text[from];
  }
  text.resize(to);
  return true;
}

}  // namespace

Text read_text(const fs::path& path) {
  const InputFile file(path);
  refuse_foreign(path, file);
  Text text{.path = path.string(),
            .content = std::string(static_cast<size_t>(file.size()), '\0'),
            .sha256 = {},
            .notes = {}};
  file.read(0, std::as_writable_bytes(std::span(text.content)));
  check_utf8(path, text.content);
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.content.starts_with(kByteOrderMark)) {
    text.content.erase(0, kByteOrderMark.size());
    text.notes.emplace_back("the byte order mark at its start is left out");
  }
  const std::string extension = lower(path.extension().string());
  if (extension == ".jsonl" || extension == ".ndjson") {
    int64_t documents = 0;
    text.content = documents_of(path, text.content, documents);
    text.notes.push_back(
        fmt::format("it is JSON Lines: the field \"text\" of its {} document{} is taken, {}",
                    documents, documents == 1 ? "" : "s", "an empty line between each two"));
  }
  if (end_lines_with_newline(text.content)) {
    text.notes.emplace_back("its carriage returns are read as ends of lines");
  }
  if (is_blank(text.content)) fail(Code::kCorrupt, "text {}: empty", path.string());
  text.sha256 = sha256_text(text.content);
  return text;
}

}  // namespace ram
