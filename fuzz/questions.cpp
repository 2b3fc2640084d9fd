// A file of questions: any bytes, plain or gzipped, are refused clearly, or become questions that
// are the same in both forms.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>

#include <zlib.h>

#include "ram/tasks.h"

#include "refusal.h"
#include "scratch_folder.h"

namespace {

std::optional<ram::TaskData> load(const std::string& bytes, const char* name) {
  const std::filesystem::path path = ram::scratch_folder() / name;
  std::ofstream(path, std::ios::binary) << bytes;
  try {
    ram::TaskData data = ram::load_task("choice", path, {});
    if (data.questions.empty() || data.total < std::ssize(data.questions)) std::abort();
    for (const ram::TaskQuestion& question : data.questions) {
      const auto choices = std::ssize(question.choices);
      if (question.answer < 0 || question.answer >= choices) std::abort();
      if (std::ssize(question.continuations) != choices) std::abort();
    }
    return data;
  } catch (const ram::Error& error) {
    ram::expect_clear(error);
    return std::nullopt;
  }
}

std::string packed(const std::string& bytes) {
  z_stream stream = {};
  constexpr int kGzip = 15 + 16;
  if (deflateInit2(&stream, 1, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY) != Z_OK) std::abort();
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) std::abort();
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const auto plain = load(input, "questions.jsonl");
  if (input.starts_with("\x1f\x8b")) return 0;  // gzip already
  const auto unpacked = load(packed(input), "questions.jsonl.gz");
  if (plain.has_value() != unpacked.has_value()) std::abort();
  if (plain && plain->digest != unpacked->digest) std::abort();
  return 0;
}
