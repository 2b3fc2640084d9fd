// The time that a fit will take, from samples of its work.

#include <algorithm>
#include <bit>
#include <chrono>
#include <numeric>

#include <fmt/format.h>

#include "ram/calibration_table.h"
#include "ram/curve.h"
#include "ram/fit.h"
#include "ram/quant.h"

namespace ram {
namespace {

using Clock = std::chrono::steady_clock;

template <typename Work>
double seconds_of(const Work& work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Bytes that a disk writes and syncs per second: the slow end of common disks.
constexpr double kWriteRate = 4e8;
// To open and sync a folder's files.
constexpr double kFolderSeconds = 0.05;

/// Seconds per weight.
struct WeightSpeed {
  double read = 0;
  double curve = 0;   ///< all formats, by one encoder
  double encode = 0;  ///< one format, with plain rounding
};

/// Measured on a sample of the largest quantizable unit.
WeightSpeed time_weights(const Checkpoint& checkpoint, DType dtype, int threads) {
  constexpr int64_t kSample = int64_t{1} << 20;
  const Unit* largest = nullptr;
  for (const Unit& unit : checkpoint.units) {
    const bool usable = unit.quantizable && formats_for_cols(unit.cols) != 0;
    if (usable && (largest == nullptr || unit.weights() > largest->weights())) largest = &unit;
  }
  if (largest == nullptr) return {};
  const int64_t rows = std::clamp<int64_t>(kSample / largest->cols, 1, largest->rows);
  const int64_t count = rows * largest->cols;
  std::vector<std::byte> weights(static_cast<size_t>(count * dtype_bits(largest->dtype) / 8));
  const auto each = static_cast<double>(count);
  WeightSpeed speed;
  speed.read =
      seconds_of([&] { checkpoint.read_rows(*largest, 0, 0, rows, weights.data()); }) / each;
  const uint32_t formats = formats_for_cols(largest->cols);
  speed.curve = seconds_of([&] {
                  measure_distortion(weights.data(), largest->dtype, rows, largest->cols, formats,
                                     dtype, Encoder::kMlx);
                }) /
                each / threads;
  const AffineFormat format = kAffineFormats[static_cast<size_t>(std::countr_zero(formats))];
  std::vector<uint32_t> codes(static_cast<size_t>(code_words(count, format) + 1));
  const auto groups = static_cast<size_t>(count / format.group_size * dtype_bits(dtype) / 8);
  std::vector<std::byte> scales(groups);
  std::vector<std::byte> biases(groups);
  speed.encode = seconds_of([&] {
                   affine_encode(weights.data(), largest->dtype, rows, largest->cols, format, dtype,
                                 codes.data(), scales.data(), biases.data());
                 }) /
                 each / threads;
  return speed;
}

// Approximate size of the finished folder.
int64_t folder_bytes(const Checkpoint& checkpoint, const PlanRequest& request) {
  const auto weights = static_cast<double>(checkpoint.weights());
  const double full = weights * dtype_bits(request.dtype) / 8;
  double bytes = full;
  if (request.budget_bytes) bytes = static_cast<double>(*request.budget_bytes);
  if (request.bits_per_weight) bytes = weights * *request.bits_per_weight / 8;
  if (request.uniform) {
    const double scales = 2.0 * dtype_bits(request.dtype) / request.uniform->group_size;
    bytes = weights * (request.uniform->bits + scales) / 8;
  }
  return static_cast<int64_t>(std::min(bytes, full));
}

bool curves_known(const Checkpoint& checkpoint, Study* study, const PlanRequest& request,
                  Encoder encoder) {
  return study != nullptr &&
         known_curves(checkpoint, *study, {.encoder = encoder, .dtype = request.dtype}).has_value();
}

void add_calibration(const Checkpoint& checkpoint, Study* study, const FitRequest& asked,
                     int64_t out_bytes, FitForecast& forecast) {
  const PlanRequest& request = asked.plan;
  const CalibrationRequest& calibration = asked.calibration;
  CalibrationWork work{.rows = calibration.rows.rows,
                       .length = calibration.rows.length,
                       .write_text = calibration.own(),
                       .coefficients = request.method == Method::kMeasured,
                       .gradients = calibration.coefficients == CoefficientSource::kGradient,
                       .encoder = request.encoder,
                       .sequential = calibration.sequential,
                       .dtype = request.dtype};
  work.gains = work.coefficients && request.encoder == Encoder::kFeedback;
  for (size_t u = 0; u < checkpoint.units.size(); ++u) {
    const Unit& unit = checkpoint.units[u];
    const bool kept = request.method != Method::kUniform && request.keep.contains(unit.role);
    if (unit.quantizable && formats_for_cols(unit.cols) != 0 && !kept) {
      work.units.push_back(static_cast<int>(u));
    }
  }
  if (study != nullptr && work.write_text) {
    const auto curves =
        known_curves(checkpoint, *study, {.encoder = Encoder::kMlx, .dtype = request.dtype});
    const auto origin = parse_calibration(request.calibration);
    const auto known = curves && origin ? CalibrationTextTable(*study).find(
                                              curves->fingerprint, calibration_spec(*origin))
                                        : std::nullopt;
    const bool all = known && std::ssize(known->ids) == calibration.rows.rows * known->row_length;
    work.write_text = !all;
  }
  const CalibrationMemory memory =
      calibration_memory(checkpoint, asked.resources.engine, calibration);
  EngineOptions options = asked.resources.engine;
  options.memory_bytes = memory.model;
  LanguageModel model(Checkpoint::open(checkpoint.folder.string()), options);
  CalibrationForecast found = forecast_calibration(model, work, memory);
  const auto add = [&](const char* name, const StepForecast& step, int64_t disk) {
    forecast.stages.push_back({name, step.seconds, step.memory_bytes, disk});
  };
  if (calibration.own()) add("write text", found.text, 0);
  if (work.coefficients) {
    if (request.probe_seconds > 0) {
      const double least = found.least_coefficients_seconds;
      if (least > request.probe_seconds) forecast.probe_least_seconds = least;
      found.coefficients.seconds =
          std::max(least, std::min(found.coefficients.seconds, request.probe_seconds));
    }
    add("measure coefficients", found.coefficients, 0);
  }
  if (work.gains) add("sample the encoder", found.gains, 0);
  if (request.encoder != Encoder::kMlx) add("compress", found.compress, out_bytes);
}

}  // namespace

double FitForecast::seconds() const {
  return std::accumulate(stages.begin(), stages.end(), 0.0,
                         [](double sum, const StageForecast& s) { return sum + s.seconds; });
}

int64_t FitForecast::memory_bytes() const {
  int64_t most = 0;
  for (const StageForecast& stage : stages) most = std::max(most, stage.memory_bytes);
  return most;
}

int64_t FitForecast::disk_bytes() const {
  int64_t sum = 0;  // compressed units are removed while the folder is written
  for (const StageForecast& stage : stages) sum += stage.disk_bytes;
  return sum;
}

FitForecast forecast_fit(const Checkpoint& checkpoint, Study* study, const FitRequest& asked) {
  const PlanRequest& request = asked.plan;
  const int workers = asked.resources.threads;
  const WeightSpeed speed = time_weights(checkpoint, request.dtype, workers);
  const auto weights = static_cast<double>(checkpoint.weights());
  const int64_t memory = kMemoryBase + workers * kMemoryPerThread;
  const int64_t out_bytes = folder_bytes(checkpoint, request);
  // Reading and computing overlap: the longer one counts.
  const auto at_once = [&](double work) { return weights * std::max(speed.read, work); };
  FitForecast forecast;
  double analyze = 0;
  for (const Encoder encoder : {Encoder::kMlx, planning_encoder(request.method)}) {
    if (encoder == Encoder::kMlx && analyze > 0) continue;
    if (!curves_known(checkpoint, study, request, encoder)) analyze += at_once(speed.curve);
  }
  forecast.stages.push_back({"analyze", analyze, memory, 0});
  if (needs_calibration(request)) {
    add_calibration(checkpoint, study, asked, out_bytes, forecast);
  }
  const bool plain = request.encoder == Encoder::kMlx;
  const double encode = plain ? at_once(speed.encode) : 0;
  const double out_seconds = static_cast<double>(out_bytes) / kWriteRate;
  forecast.stages.push_back({"write", kFolderSeconds + encode + out_seconds, memory, out_bytes});
  // Decodes everything, and encodes it again if that gives the same bytes.
  const double verify = at_once((plain ? 2 : 1) * speed.encode);
  forecast.stages.push_back({"verify", verify, memory, 0});
  return forecast;
}

}  // namespace ram
