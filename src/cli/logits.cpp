// ram logits: the logits of given token ids, for other programs to compare with.
#include <filesystem>
#include <vector>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/json.h"
#include "ram/machine.h"
#include "ram/outputs.h"
#include "ram/safetensors.h"
#include "ram/size.h"

#include "commands.h"
#include "engine_options.h"
#include "model.h"
#include "token_ids.h"

namespace ram::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string model;
  std::string ids;
  std::string out;
  std::string precision;
};

/// The ids, within a quarter of the memory: a byte of their text takes 24 of it at most ("[1]," is
/// a list and a row).
std::vector<TokenRow> read_rows(const std::string& file, int64_t memory_bytes) {
  constexpr int64_t kMostPerByte = 24;
  const int64_t share = memory_bytes / 4;
  const int64_t size = InputFile(file).size();
  if (size > share / kMostPerByte) {
    fail(Code::kUsage,
         "--ids {}: {} of ids take up to {} of memory, and a quarter of all that they may have is "
         "{}: "
         "give more --memory, or fewer sequences",
         file, format_bytes(size), format_bytes(size * kMostPerByte), format_bytes(share));
  }
  return parse_id_rows(read_text_file(file, kMostIdBytes), file);
}

int logits_command(const Common& common, const Options& options) {
  const EngineOptions engine = engine_options(common, options.precision);
  const std::vector<TokenRow> rows = read_rows(options.ids, engine.memory_bytes);
  LanguageModel model = open_language_model(options.model, engine);
  const auto length = static_cast<int64_t>(rows.front().size());
  const int64_t vocabulary = model.checkpoint().config.vocab;
  const TensorSpec spec{
      .name = "logits", .dtype = DType::kF32, .shape = {std::ssize(rows), length, vocabulary}};
  const std::string header = render_safetensors_header({&spec, 1}, {});
  const fs::path target = output_target(options.out);
  remove_dead_replacements(target);  // each may be as large as this one
  ReplacementFile file(target);
  file.reserve(std::ssize(header) + spec.bytes());
  file.write(0, std::as_bytes(std::span(header)));
  const int64_t at_once = model.rows_at_once(length);
  for (int64_t first = 0; first < std::ssize(rows); first += at_once) {
    const auto count = static_cast<size_t>(std::min(at_once, std::ssize(rows) - first));
    HiddenRows hidden = model.embed(std::span(rows).subspan(static_cast<size_t>(first), count));
    model.run_layers(hidden, 0, model.layers());
    const LogitSource source{.model = &model, .hidden = &hidden};
    visit_logits({&source, 1}, [&](const LogitPiece& piece, int) {
      for (int64_t i = 0; i < piece.tokens; ++i) {
        const int64_t token = (first + piece.row) * length + piece.first_token + i;
        const std::span<const float> values(piece.logits[0] + i * piece.ids,
                                            static_cast<size_t>(piece.ids));
        file.write(std::ssize(header) + (token * vocabulary + piece.first_id) * 4,
                   std::as_bytes(values));
      }
    });
    model.checkpoint().check_unchanged();  // layers are read as they are needed
  }
  file.publish();
  if (common.json) {
    const Json document = {{"model", model.checkpoint().name},
                           {"sequences", rows.size()},
                           {"length", length},
                           {"vocabulary", vocabulary},
                           {"out", options.out},
                           {"peak_resident_bytes", peak_resident_bytes()}};
    print_document(common, document);
  } else {
    print_result(common,
                 fmt::format("{} sequences of {} tokens, {} logits each ({}): {}\n", rows.size(),
                             length, vocabulary, format_bytes(spec.bytes()), options.out));
  }
  return kDone;
}

}  // namespace

Action setup_logits(Arguments app, const Common& common) {
  auto options = std::make_shared<Options>();
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
