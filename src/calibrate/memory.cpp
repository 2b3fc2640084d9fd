// Memory needed beside a model while it is measured and compressed, added up before the start.
#include <algorithm>
#include <map>

#include "ram/calibrate.h"
#include "ram/error.h"
#include "ram/machine.h"
#include "ram/size.h"

#include "units.h"

namespace ram {
namespace {

// Most bytes of a stored weight: 8 bits, and a scale and bias in float32 for each group of 32.
constexpr double kStoredBytes = 1.25;
// Bytes per column of an encoder tile.
constexpr int64_t kTileBytes = 4096;
// Bytes of the sums per token, for each model whose logits are compared.
constexpr int64_t kSumBytes = 64;

struct Needs {
  int64_t states = 0;    ///< one copy, of all rows
  int64_t passing = 0;   ///< extra while they pass through a layer
  int64_t logits = 0;    ///< of kLogitsAtOnce models and the original, and the twin's head
  int64_t back = 0;      ///< a row that goes back through the layers
  int64_t stored = 0;    ///< stored units, at most
  int64_t encoding = 0;  ///< blocks of rows, factors, the moments of parts
  int64_t moments = 0;   ///< minimum of a pass, with drifts and recorded inputs

  int64_t to_probe() const { return 2 * states + passing + std::max(passing, logits) + stored; }
  int64_t to_go_back() const { return back + logits; }
  int64_t to_compress() const {
    return 2 * states + std::max(passing + encoding + moments, logits) + stored;
  }
};

int64_t stored_bytes(const Checkpoint& checkpoint) {
  std::vector<int64_t> by_layer(static_cast<size_t>(checkpoint.layers));
  int64_t alone = 0;
  int64_t tied = 0;
  for (const Unit& unit : checkpoint.units) {
    if (!unit.quantizable) continue;
    const auto bytes = static_cast<int64_t>(kStoredBytes * static_cast<double>(unit.weights()));
    if (unit.layer >= 0) {
      by_layer[static_cast<size_t>(unit.layer)] += bytes;
    } else {
      (checkpoint.tied_embeddings ? tied : alone) =
          std::max(checkpoint.tied_embeddings ? tied : alone, bytes);
    }
  }
  int64_t layer = 0;
  for (const int64_t bytes : by_layer) layer = std::max(layer, bytes);
  return tied + std::max(layer, alone);
}

Needs needs_of(const LanguageModel& model, int64_t rows, int64_t length) {
  const Checkpoint& checkpoint = model.checkpoint();
  const ModelConfig& config = checkpoint.config;
  const int64_t threads = model.options().threads;
  Needs needs;
  needs.states = rows * ceil_div(length, 16) * 16 * config.hidden * 4;
  needs.passing = rows * model.row_bytes(length);
  constexpr int64_t kModels = kLogitsAtOnce + 1;
  needs.logits = model.logits_bytes(kModels) + rows * length * kModels * kSumBytes;
  needs.back = gradient_row_bytes(model, length);
  needs.stored = stored_bytes(checkpoint);
  // Columns of units with several parts, and how many are sampled: these are gathered together,
  // with sums over all parts.
  std::map<int64_t, int64_t> shared;
  int64_t recorded = 0;
  for (size_t u = 0; u < checkpoint.units.size(); ++u) {
    const Unit& unit = checkpoint.units[u];
    if (!unit.quantizable) continue;
    const bool several = unit.parts.size() > 1;
    const int64_t moment = 4 * unit.cols * unit.cols;
    if (several) shared[unit.cols] = sampled_parts(std::ssize(unit.parts), unit.cols);
    needs.moments = std::max(needs.moments, 3 * moment);
    recorded = std::max(recorded, recorded_row_bytes(checkpoint, static_cast<int>(u), length));
    // For each part in parallel: its weights, its targets, its decoded weights; drift and factor,
    // and the shrunk moment.
    const int64_t at_once = several ? threads : 1;
    const int64_t weights = 4 * encoded_rows(unit.rows, unit.cols) * unit.cols;
    const int64_t encoding =
        at_once * (3 * weights + (several ? 3 : 2) * moment) + threads * kTileBytes * unit.cols;
    // Before that, to choose the damping: moments without the rows held out, and a factor.
    const int64_t choosing = (sampled_parts(std::ssize(unit.parts), unit.cols) + 1) * moment;
    needs.encoding = std::max({needs.encoding, encoding, choosing});
  }
  for (const auto& [cols, sampled] : shared) {
    needs.moments += (8 + 12 * (sampled - 1)) * cols * cols;
  }
  needs.moments = needs.moments * kRecordedPart / (kRecordedPart - 1) + recorded;
  return needs;
}

}  // namespace

CalibrationMemory share_memory(const Checkpoint& checkpoint, int64_t total, int threads,
                               int64_t rows, int64_t length) {
  const ModelConfig& config = checkpoint.config;
  if (config.max_positions > 0) length = std::min(length, config.max_positions);
  const LanguageModel model(Checkpoint::open(checkpoint.folder.string(), Quantized::kAccept),
                            {.threads = threads, .memory_bytes = 1});
  const Needs needs = needs_of(model, rows, length);
  // In addition to a pass: the weights that noise or encoding put in place of kept ones.
  const int64_t pass = memory_bytes_for(model.pass_bytes(length) + model.row_bytes(length)) + 1;
  const int64_t beside =
      std::max({needs.to_probe(), needs.to_go_back(), needs.to_compress()}) + model.step_bytes();
  // Before that, a row of own text is written, with nothing else in memory.
  const int64_t needed = memory_bytes_for(std::max(pass + beside, model.decoding_bytes(length)));
  if (total < needed) {
    fail(Code::kUsage,
         "memory {}: calibrating {} on {} rows of {} tokens needs {} with {} threads; give more, "
         "fewer --calibration-rows or --threads, or do without (--method squared, --encoder mlx)",
         format_bytes(total), checkpoint.name, rows, length, format_enough_bytes(needed), threads);
  }
  const int64_t spare = usable_memory_bytes(total) - pass - beside;
  const int64_t rest = std::max<int64_t>(0, spare) / 2;
  return {.model = pass + rest,
          .variants = needs.passing + beside - needs.to_probe() + rest,
          .moments = needs.moments + beside - needs.to_compress() + rest};
}

}  // namespace ram
