// Losses and comparisons as JSON documents.
#include "ram/eval_json.h"

namespace ram {

using Json = nlohmann::ordered_json;

namespace {

template <typename Value>
Json optional_json(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json interval_json(const Interval& interval) {
  return Json::array({interval.low, interval.high});
}

Json divergence_json(const Divergence& divergence) {
  return {{"kl_mean", divergence.mean},         {"kl_median", divergence.median},
          {"kl_p90", divergence.p90},           {"kl_p99", divergence.p99},
          {"kl_p999", divergence.p999},         {"kl_max", divergence.max},
          {"same_top1", divergence.same_top1},  {"mean_change", divergence.mean_change},
          {"rms_change", divergence.rms_change}};
}

std::string_view verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kWorse:
      return "worse";
    case Verdict::kBetter:
      return "better";
    case Verdict::kTied:
      return "tied";
    case Verdict::kWithinNoise:
      return "within noise";
    case Verdict::kTooFewRows:
      return "too few rows";
  }
  return "";
}

Json rows_json(const Perplexity& perplexity) {
  Json rows = Json::array();
  for (const RowScore& row : perplexity.rows) {
    rows.push_back({{"row", row.row}, {"tokens", row.tokens}, {"nll_sum", row.nll_sum}});
  }
  return rows;
}

Json model_json(const std::string& name, const Perplexity& perplexity) {
  const PerplexitySummary& summary = perplexity.summary;
  return {{"name", name},
          {"folder", perplexity.model.folder},
          {"digest", perplexity.model.digest},
          {"bytes", perplexity.model.bytes},
          {"bits_per_weight", perplexity.model.bits_per_weight},
          {"mean_perplexity", summary.mean},
          {"median_perplexity", summary.median},
          {"trimmed_perplexity", optional_json(summary.trimmed)}};
}

Json test_json(const PairTest& test) {
  return {{"delta_nll", test.difference.delta},
          {"delta_nll_se", test.difference.standard_error},
          {"delta_nll_ci95", interval_json(test.difference.t95)},
          {"bootstrap_ci95", interval_json(test.bootstrap95)},
          {"median_difference", test.median_difference},
          {"sign_test_p", test.sign_p},
          {"wilcoxon_p", test.wilcoxon_p},
          {"p", test.difference.p},
          {"p_holm", test.p_holm},
          {"kl_ci95", interval_json(test.kl.t95)},
          {"kl_tells", test.kl_tells()},
          {"rows_needed", optional_json(test.rows_needed)},
          {"verdict", verdict_name(test.verdict)}};
}

Json inversion_json(const InversionReport& report, const std::vector<std::string>& labels) {
  const auto label = [&](int which) { return labels.at(static_cast<size_t>(which)); };
  return {{"better_by_mean", label(report.better_by_mean)},
          {"better_by_median", label(report.better_by_median)},
          {"beats_reference", report.beats_reference},
          {"rows", report.rows},
          {"mean_better_without", report.mean_better_without},
          {"mean_other_without", report.mean_other_without},
          {"believe", belief_name(report.belief)},
          {"better", report.better() ? Json(label(*report.better())) : Json(nullptr)},
          {"why", report.why}};
}

}  // namespace

std::string_view belief_name(Belief belief) {
  switch (belief) {
    case Belief::kMean:
      return "mean";
    case Belief::kMedian:
      return "median";
    case Belief::kNeither:
      return "neither";
  }
  return "";
}

Json text_json(const RowOptions& options, const TextRows& text) {
  return {{"text_sha256", text.text_sha256},
          {"text_format", text_format_name(text.format)},
          {"text_tokens", text.text_tokens},
          {"length", text.length},
          {"bos", bos_name(text.bos)},
          {"prefix_tokens", text.prefix_tokens},
          {"seed", options.seed},
          {"rows_total", text.rows_total},
          {"rows_used", text.rows.size()},
          {"tokens", text.scored_tokens()}};
}

Json comparison_json(const RowOptions& options, const Comparison& comparison,
                     const std::vector<std::string>& labels) {
  Json document = {{"reference", labels.front()}};
  document.update(text_json(options, comparison.text));
  document["reference_model"] = model_json(labels.front(), comparison.reference);
  document["reference_model"]["rows"] = rows_json(comparison.reference);
  Json models = Json::array();
  for (size_t m = 0; m < comparison.models.size(); ++m) {
    const ComparedModel& model = comparison.models[m];
    Json entry = model_json(labels[m + 1], model.perplexity);
    entry.update(test_json(model.against_reference));
    entry.update(divergence_json(model.divergence));
    entry["rows"] = rows_json(model.perplexity);
    models.push_back(std::move(entry));
  }
  document["models"] = std::move(models);
  Json pairs = Json::array();
  for (const PairTest& test : comparison.pairs) {
    pairs.push_back(
        {{"a", labels[static_cast<size_t>(test.a)]},
         {"b", labels[static_cast<size_t>(test.b)]},
         {"delta_nll", test.difference.delta},
         {"ci95", interval_json(test.difference.t95)},
         {"bootstrap_ci95", interval_json(test.bootstrap95)},
         {"p", test.difference.p},
         {"p_holm", test.p_holm},
         {"sign_test_p", test.sign_p},
         {"wilcoxon_p", test.wilcoxon_p},
         {"kl_difference", test.kl.delta},
         {"kl_difference_ci95", interval_json(test.kl.t95)},
         {"kl_ratio", optional_json(test.kl_ratio)},
         {"kl_ratio_ci95", test.kl_ratio ? interval_json(test.kl_ratio95) : Json(nullptr)},
         {"kl_tells", test.kl_tells()},
         {"rows_needed", optional_json(test.rows_needed)},
         {"verdict", verdict_name(test.verdict)}});
  }
  document["pairs"] = std::move(pairs);
  document["comparisons"] = comparison.pairs.size();
  document["margin"] = comparison.margin;
  document["noise_floor_kl"] = comparison.noise_floor.mean;
  document["noise_floor"] = divergence_json(comparison.noise_floor);
  Json inversions = Json::array();
  for (const InversionReport& report : comparison.inversions) {
    inversions.push_back(inversion_json(report, labels));
  }
  document["inversions"] = std::move(inversions);
  return document;
}

Json perplexity_json(const RowOptions& options, const PerplexityResult& result) {
  const Perplexity& found = result.perplexity;
  const PerplexitySummary& summary = found.summary;
  const auto row_of = [&](int64_t position) {
    return found.rows[static_cast<size_t>(position)].row;
  };
  Json document = {{"model", found.model.name},
                   {"model_type", found.model.model_type},
                   {"digest", found.model.digest},
                   {"bytes", found.model.bytes},
                   {"bits_per_weight", found.model.bits_per_weight},
                   {"precision", precision_name(found.precision)}};
  document.update(text_json(options, result.text));
  document["mean_perplexity"] = summary.mean;
  document["median_perplexity"] = summary.median;
  document["trimmed_perplexity"] = optional_json(summary.trimmed);
  document["trimmed_rows"] = summary.trimmed_rows;
  Json outliers = Json::array();
  for (const int64_t position : summary.outliers) outliers.push_back(row_of(position));
  document["outlier_rows"] = std::move(outliers);
  Json worst = Json::array();
  for (const WorstRow& row : found.worst) {
    worst.push_back({{"row", row.row}, {"perplexity", row.perplexity}, {"text", row.excerpt}});
  }
  document["worst_rows"] = std::move(worst);
  document["mean_without_worst"] = optional_json(summary.mean_without_worst);
  document["median_without_worst"] = optional_json(summary.median_without_worst);
  document["rows_known"] = found.rows_known;
  document["rows"] = rows_json(found);
  return document;
}

}  // namespace ram
