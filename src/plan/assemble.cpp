// Fills in a plan's numbers, including the folder's size, which depends on the digits of those
// numbers.
#include "assemble.h"

#include <algorithm>

#include "ram/error.h"
#include "ram/hash.h"

#include "plan_rule.h"

namespace ram {
namespace {

constexpr const char* kNoDigest = "00000000000000000000000000000000";

/// Everything in the folder that depends on the formats.
FolderLayout layout_formats(const Checkpoint& checkpoint, const Plan& plan,
                            int64_t max_shard_bytes) {
  std::vector<UnitFormat> formats;
  formats.reserve(plan.units.size());
  for (const PlannedUnit& unit : plan.units) formats.push_back(unit.format);
  return layout_folder(checkpoint, formats, plan.dtype, max_shard_bytes);
}

/// The two files whose lengths also depend on the plan's numbers.
std::vector<RenderedFile> plan_texts(const Checkpoint& checkpoint, const Plan& plan,
                                     const FolderLayout& folder) {
  std::vector<RenderedFile> texts;
  texts.push_back({"README.md", render_readme(checkpoint, plan)});
  Plan built = plan;
  built.file_hashes = {{"plan.json", kNoDigest}, {"README.md", kNoDigest}};
  for (const Shard& shard : folder.shards) built.file_hashes[shard.name] = kNoDigest;
  for (const RenderedFile& file : folder.rendered) built.file_hashes[file.name] = kNoDigest;
  for (const CarriedFile& file : folder.carried_files) built.file_hashes[file.name] = kNoDigest;
  texts.push_back({"plan.json", render_plan(built)});
  return texts;
}

}  // namespace

Plan assemble_plan(const PlanInput& input, const PlanRequest& request, const Objective& objective,
                   std::span<const UnitFormat> formats) {
  const Checkpoint& checkpoint = input.checkpoint;
  Plan plan;
  plan.model_name = to_plan_name(checkpoint.name);
  plan.model_type = checkpoint.model_type;
  plan.fingerprint = input.stored.fingerprint;
  plan.method = request.method;
  plan.encoder = request.encoder;
  plan.dtype = request.dtype;
  plan.menu = objective.menu;
  plan.request = request;
  Knapsack
      chosen_options;  // one option per unit: its sums are the plan's, by the solver's own audit
  for (size_t u = 0; u < checkpoint.units.size(); ++u) {
    const Candidate* chosen = find_candidate(objective.units[u], formats[u]);
    RAM_CHECK(chosen != nullptr);
    const auto gain = request.gains.units.find(checkpoint.units[u].name);
    plan.units.push_back(
        {.name = checkpoint.units[u].name,
         .format = chosen->format,
         .bytes = chosen->bytes,
         .weights = checkpoint.units[u].weights(),
         .prior = objective.units[u].prior,
         .gain = gain == request.gains.units.end() ? std::nullopt : std::optional(gain->second),
         .nrmse = chosen->nrmse});
    chosen_options.units.push_back({{.bytes = chosen->bytes, .loss = chosen->loss}});
  }
  const Option sums = audit_choice(chosen_options, std::vector<int>(formats.size(), 0));
  plan.weight_bytes = sums.bytes;
  plan.objective = sums.loss;
  plan.bits_per_weight = 8.0 * static_cast<double>(plan.weight_bytes) /
                         static_cast<double>(parameter_count(checkpoint));
  return plan;
}

void settle_total(const Checkpoint& checkpoint, Plan& plan,
                  const std::function<void(Plan&, int64_t)>& follow) {
  const FolderLayout folder = layout_formats(checkpoint, plan, kMaxShardBytes);
  // More digits never make a file shorter, so this climbs to a fixed point.
  plan.total_bytes = plan.weight_bytes;
  for (int round = 0; round < 64; ++round) {
    if (follow) follow(plan, plan.total_bytes);
    int64_t total = folder.total_bytes();
    for (const RenderedFile& text : plan_texts(checkpoint, plan, folder)) {
      total += static_cast<int64_t>(text.text.size());
    }
    if (total == plan.total_bytes) return;
    plan.total_bytes = total;
  }
  fail(Code::kInternal, "defect in ram: the size of the finished folder does not converge");
}

std::vector<UnitFormat> formats_of(const Objective& objective, const PlanKnapsack& knapsack,
                                   std::span<const int> choice) {
  std::vector<UnitFormat> formats(objective.units.size());
  for (size_t u = 0; u < formats.size(); ++u) {
    const int position = knapsack.positions[u][static_cast<size_t>(choice[u])];
    formats[u] = objective.units[u].candidates[static_cast<size_t>(position)].format;
  }
  return formats;
}

std::vector<UnitFormat> uniform_formats(const Checkpoint& checkpoint, const PlanRequest& request,
                                        const Objective& objective) {
  std::vector<UnitFormat> formats(checkpoint.units.size());
  for (size_t u = 0; u < formats.size(); ++u) {
    const Unit& unit = checkpoint.units[u];
    const UnitCandidates& candidates = objective.units[u];
    if (candidates.pinned) {
      const auto pinned = std::find_if(candidates.candidates.begin(), candidates.candidates.end(),
                                       [](const Candidate& c) { return c.allowed; });
      formats[u] = pinned->format;
    } else if (unit.quantizable && unit.cols % request.uniform->group_size == 0) {
      formats[u] = unit.uniform_rule ? *unit.uniform_rule : *request.uniform;
      if (find_candidate(candidates, formats[u]) == nullptr) formats[u] = std::nullopt;
    }
  }
  return formats;
}

std::vector<int> cheapest_choice(const Knapsack& knapsack) {
  std::vector<int> choice;
  choice.reserve(knapsack.units.size());
  for (const std::vector<Option>& options : knapsack.units) {
    const auto least =
        std::min_element(options.begin(), options.end(), [](const Option& a, const Option& b) {
          return a.bytes != b.bytes ? a.bytes < b.bytes : a.loss < b.loss;
        });
    choice.push_back(static_cast<int>(least - options.begin()));
  }
  return choice;
}

SharedTime::SharedTime(double seconds)
    : end_(std::chrono::steady_clock::now() +
           std::chrono::duration_cast<std::chrono::steady_clock::duration>(
               std::chrono::duration<double>(std::clamp(seconds, 0.0, 1e9)))) {}

double SharedTime::next_share_s() const {
  const std::chrono::duration<double> left = end_ - std::chrono::steady_clock::now();
  return std::max(0.0, left.count() / 2);
}

Allocation solve_request(const PlanRequest& request, const Knapsack& knapsack, int64_t budget_bytes,
                         double time_limit_s) {
  if (request.method == Method::kPublished) return solve_greedy_pairs(knapsack, budget_bytes);
  return solve_knapsack(knapsack, budget_bytes, time_limit_s);
}

FolderLayout layout_plan(const Checkpoint& checkpoint, const Plan& plan, int64_t max_shard_bytes) {
  FolderLayout layout = layout_formats(checkpoint, plan, max_shard_bytes);
  layout.source = checkpoint.folder;
  for (RenderedFile& text : plan_texts(checkpoint, plan, layout)) {
    layout.rendered.push_back(std::move(text));
  }
  return layout;
}

std::string plan_digest(Plan plan) {
  plan.file_hashes["plan.json"] = kNoDigest;
  return hash_text(render_plan(plan));
}

std::string build_key(Plan plan) {
  plan.file_hashes.clear();
  return hash_text(render_plan(plan));
}

}  // namespace ram
