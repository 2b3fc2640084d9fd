// One model on one text.
#include "ram/progress.h"

#include "runner.h"

namespace ram {

PerplexityResult evaluate_perplexity(const std::string& model_name,
                                     const std::filesystem::path& text, const RowOptions& rows,
                                     const EngineOptions& options, Study& study,
                                     const ProgressFn& progress) {
  const Text read = read_text(text);
  const OpenedModel model = open_model(model_name, study, progress);
  PerplexityResult result;
  result.text = cut_rows(read, model.tokenizer, rows);
  check_token_ids(result.text.rows, model.checkpoint);
  keep_text_name(read, study);
  const Scored scored{.model = &model,
                      .precision = options.precision,
                      .key = evaluation_key(model, options.precision, result.text)};
  const int64_t known = complete_rows(result.text, {&scored, 1}, study,
                                      engine_runner(result.text, options), progress);
  result.perplexity = collect(result.text, scored, study);
  result.perplexity.rows_known = known;
  return result;
}

}  // namespace ram
