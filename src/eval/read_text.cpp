// From a file to text: what is read, what is rejected, and what is not part of the text
// (docs/evaluation.md, "The rows").
#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ram/error.h"
#include "ram/eval.h"
#include "ram/hash.h"
#include "ram/json.h"
#include "ram/json_tree.h"
#include "ram/size.h"
#include "ram/utf8.h"

#include "blank.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// Files that are not text, identified by their first bytes, and what to do with them.
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
         "text {}: a JSON document is not a text to score; write its text to a .txt file, or as "
         ".jsonl with {{\"text\": ...}} on each line",
         path.string());
  }
  if (file.size() > kLargestText) {
    fail(Code::kUnsupported,
         "text {}: {}, and at most {} are read; truncate it, as with head -c {} (a sample of rows "
         "needs no more)",
         path.string(), format_bytes(file.size()), format_bytes(kLargestText), kLargestText);
  }
}

void check_utf8(const fs::path& path, std::string_view text) {
  const size_t good = well_formed_utf8(text);
  if (good == text.size()) return;
  fail(Code::kCorrupt, "text {}: not UTF-8 at byte {} (0x{:02x}); convert it, as with iconv",
       path.string(), good, static_cast<unsigned char>(text[good]));
}

JsonTree parse_line(std::string_view text, const std::string& name) {
  try {
    // Besides its text a line has a few fields; a tree of millions takes more than the text may.
    constexpr int64_t kMostValues = int64_t{1} << 20;
    JsonTree document(
        parse_json(text, name, {.bytes = kLargestText, .values = kMostValues, .non_finite = true}));
    if (document->is_object()) return document;
    fail(Code::kCorrupt, "{}: not a JSON object", name);
  } catch (const Error& error) {
    fail(error.code(),
         "{}; a .jsonl file has an object with a field \"text\" on each line (rename it to .txt to "
         "score it unchanged)",
         error.what());
  }
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
    const std::string name = fmt::format("text {} line {}", path.string(), line);
    const JsonTree tree = parse_line(text, name);
    const Json& document = *tree;
    const auto found = document.find("text");
    if (found == document.end() || !found->is_string()) {
      std::vector<std::string> fields;
      constexpr size_t kShown = 8;
      for (const auto& [field, value] : document.items()) {
        if (fields.size() < kShown) fields.push_back(field);
      }
      fail(Code::kCorrupt,
           "{}: no text in a field \"text\" (there are: {}); rename the field, or write the text "
           "itself to a .txt file",
           name, fmt::join(fields, ", "));
    }
    ++count;
    const auto& own = found->get_ref<const std::string&>();
    if (is_blank(own)) continue;
    if (!joined.empty()) joined += "\n\n";
    joined += own;
  }
  return joined;
}

// As Python opens text: "\r\n" and "\r" end a line like "\n".
// @source Python, io.TextIOWrapper, newline=None (with which `datasets` reads text)
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
    text.notes.emplace_back("the byte order mark at the start of the text is left out");
  }
  const std::string extension = lower(path.extension().string());
  if (extension == ".jsonl" || extension == ".ndjson") {
    int64_t documents = 0;
    text.content = documents_of(path, text.content, documents);
    text.notes.push_back(
        fmt::format("the text is JSON Lines: the field \"text\" of its {} document{} is used, {}",
                    documents, documents == 1 ? "" : "s", "an empty line between each two"));
  }
  if (end_lines_with_newline(text.content)) {
    text.notes.emplace_back("the carriage returns of the text are read as ends of lines");
  }
  if (is_blank(text.content)) fail(Code::kCorrupt, "text {}: empty", path.string());
  text.sha256 = sha256_text(text.content);
  return text;
}

}  // namespace ram
