// Models opened for evaluation, and the loop that scores rows: rows that the study lacks are
// computed block by block, for any number of models side by side.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ram/eval.h"
#include "ram/progress.h"

namespace ram {

/// One model to score in one precision.
struct Scored {
  const OpenedModel* model = nullptr;
  Precision precision = Precision::kF32;
  EvaluationKey key;
};

/// Keeps the name of the text's file, so that a report can show more than its digest.
void keep_text_name(const Text& text, Study& study);

EvaluationKey evaluation_key(const OpenedModel& model, Precision precision, const TextRows& text);

/// Computes a block: passes the pieces of logits of all `rows` to `visit`, with the models in the
/// given order.
using BlockRun =
    std::function<void(std::span<const TokenRow> rows,
                       const std::function<void(const LogitPiece& piece, int worker)>& visit)>;

/// How blocks are run: by the engine, or by a test.
struct Runner {
  BlockRun run;
  int64_t rows_at_once = 1;
};

/// Makes a runner for some models: loads them. @param memory_bytes of all together.
using MakeRunner = std::function<Runner(std::span<const Scored> models)>;
MakeRunner engine_runner(const TextRows& text, const EngineOptions& options);

/// Completes the study: every drawn row of every model has a score, and, if there is more than one
/// model, every row of the second and later ones has a divergence from the first.
/// @return how many rows needed no computation.
/// @throws what `make` and its runs throw; {kInterrupted}. Finished blocks are kept.
int64_t complete_rows(const TextRows& text, std::span<const Scored> models, Study& study,
                      const MakeRunner& make, const ProgressFn& progress);

/// @return the losses of all drawn rows. @pre complete_rows.
Perplexity collect(const TextRows& text, const Scored& scored, Study& study);

/// @return the divergences of all drawn rows, summarised. @pre complete_rows.
Divergence collect_divergence(const TextRows& text, const Scored& reference, const Scored& scored,
                              Study& study);

}  // namespace ram
