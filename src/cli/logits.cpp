// ram logits: the logits of given token ids, for other programs to compare with.
#include <vector>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/logits_file.h"
#include "ram/machine.h"
#include "ram/outputs.h"
#include "ram/size.h"
#include "ram/token_ids.h"

#include "commands.h"
#include "engine_options.h"
#include "model.h"

namespace ram::cli {
namespace {

struct LogitsArguments {
  std::string model;
  std::string ids;
  std::string out;
  std::string precision;
};

/// Reads the ids, within a quarter of the memory: each byte of their text takes at most 24 bytes
/// ("[1]," is a list and a row).
std::vector<TokenRow> read_rows(const std::string& file, int64_t memory_bytes) {
  constexpr int64_t kMostPerByte = 24;
  const int64_t share = memory_bytes / 4;
  const int64_t size = InputFile(file).size();
  if (size > share / kMostPerByte) {
    fail(Code::kUsage,
         "--ids {}: {} of ids take up to {} of memory, but their quarter of it is {}: give more "
         "--memory, or fewer sequences",
         file, format_bytes(size), format_bytes(size * kMostPerByte), format_bytes(share));
  }
  return parse_id_rows(read_text_file(file, kMostIdBytes), file);
}

int logits_command(const Common& common, const LogitsArguments& options) {
  const EngineOptions engine = engine_options(common, options.precision);
  const std::vector<TokenRow> rows = read_rows(options.ids, engine.memory_bytes);
  LanguageModel model = open_language_model(options.model, engine);
  const TensorSpec written = write_logits(model, rows, output_target(options.out));
  if (common.json) {
    const Json document = {{"model", model.checkpoint().name},
                           {"sequences", rows.size()},
                           {"length", written.shape[1]},
                           {"vocabulary", written.shape[2]},
                           {"out", options.out},
                           {"peak_resident_bytes", peak_resident_bytes()}};
    print_document(common, document);
  } else {
    print_result(common, fmt::format("{} sequences of {} tokens, {} logits each ({}): {}\n",
                                     rows.size(), written.shape[1], written.shape[2],
                                     format_bytes(written.bytes()), options.out));
  }
  return kDone;
}

}  // namespace

Action setup_logits(Arguments app, const Common& common) {
  auto options = std::make_shared<LogitsArguments>();
  app.add_option("MODEL", options->model, "a model folder or id, quantized or not")
      .type_name("")
      .required();
  app.add_option("--ids", options->ids, "JSON: a list of lists of token ids, of one length")
      .type_name("FILE")
      .required();
  app.add_option("-o,--out", options->out, "written as safetensors: logits [sequences, length, V]")
      .type_name("FILE")
      .writes(Content::kLogits)
      .required();
  add_precision_option(app, options->precision);
  return [options, &common] { return logits_command(common, *options); };
}

}  // namespace ram::cli
