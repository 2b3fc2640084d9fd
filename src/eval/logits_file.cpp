// Writes logits to a file, a block of rows at a time.
#include "ram/logits_file.h"

#include <algorithm>
#include <string>

#include "ram/file.h"

namespace ram {

TensorSpec write_logits(LanguageModel& model, std::span<const TokenRow> rows,
                        const std::filesystem::path& path) {
  const auto length = static_cast<int64_t>(rows.front().size());
  const int64_t vocabulary = model.checkpoint().config.vocab;
  TensorSpec spec{
      .name = "logits", .dtype = DType::kF32, .shape = {std::ssize(rows), length, vocabulary}};
  const std::string header = render_safetensors_header({&spec, 1}, {});
  remove_dead_replacements(path);  // each may be as large as this one
  ReplacementFile file(path);
  file.reserve(std::ssize(header) + spec.bytes());
  file.write(0, std::as_bytes(std::span(header)));
  const int64_t at_once = model.rows_at_once(length);
  for (int64_t first = 0; first < std::ssize(rows); first += at_once) {
    const auto count = static_cast<size_t>(std::min(at_once, std::ssize(rows) - first));
    HiddenRows hidden = model.embed(rows.subspan(static_cast<size_t>(first), count));
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
    model.checkpoint().check_unchanged();  // layers are read on demand
  }
  file.publish();
  return spec;
}

}  // namespace ram
