#include "engine_options.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/fit.h"
#include "ram/machine.h"
#include "ram/size.h"

namespace ram::cli {

int threads(const Common& common) {
  const int wanted = common.thread_count > 0 ? common.thread_count : default_threads();
  if (common.memory.empty()) return wanted;
  const Size size = parse_size(common.memory);
  const int64_t least = kMemoryBase + kMemoryPerThread;
  if (size.share > 0 || size.bytes < least) {
    fail(Code::kUsage, "--memory {}: use a size of at least {}MiB, or omit the option",
         common.memory, least >> 20);
  }
  const int64_t fitting = (size.bytes - kMemoryBase) / kMemoryPerThread;
  return static_cast<int>(std::min<int64_t>(wanted, fitting));
}

void add_precision_option(Arguments app, std::string& precision) {
  app.add_option("--precision", precision,
                 "f32, or bf16: activations rounded as a bf16 program stores them (default f32)")
      .type_name("f32|bf16");
}

EngineOptions engine_options(const Common& common, const std::string& precision) {
  EngineOptions options;
  options.threads = common.thread_count > 0 ? common.thread_count : default_threads();
  if (precision == "bf16") {
    options.precision = Precision::kBF16;
  } else if (!precision.empty() && precision != "f32") {
    fail(Code::kUsage, "--precision {}: use f32 or bf16", precision);
  }
  options.memory_bytes = memory_bytes() / 2;
  if (!common.memory.empty()) {
    const Size size = parse_size(common.memory);
    if (size.share > 0) {
      fail(Code::kUsage, "--memory {}: use a size, such as 8GiB", common.memory);
    }
    options.memory_bytes = std::min(size.bytes, memory_limit_bytes());
    if (options.memory_bytes < size.bytes) {
      note(common, fmt::format("--memory {}: the system leaves this program {} (ulimit -v, or its "
                               "container's limit)",
                               common.memory, format_bytes(options.memory_bytes)));
    }
  }
  return options;
}

void check_text_size(const Common& common, const std::string& option, const std::string& file) {
  std::error_code error;
  const auto size = static_cast<int64_t>(std::filesystem::file_size(file, error));
  const Size all =
      common.memory.empty() ? Size{.bytes = memory_bytes() / 2} : parse_size(common.memory);
  if (error || all.share > 0) return;  // reported where they are used
  const int64_t share = std::min(all.bytes, memory_limit_bytes()) / 4;
  if (size <= share) return;
  fail(Code::kUsage,
       "{} {}: {}, and a text may take {}, a quarter of all memory: give more --memory, or a part "
       "of "
       "the text",
       option, file, format_bytes(size), format_bytes(share));
}

LanguageModel open_language_model(const std::string& model, const EngineOptions& options) {
  return {Checkpoint::open(model, Quantized::kAccept), options};
}

}  // namespace ram::cli
