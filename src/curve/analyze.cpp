// analyze: what the study already has, what must be hashed, what must be measured, and the units'
// curves from all of it.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ram/curve.h"
#include "ram/curve_table.h"
#include "ram/error.h"
#include "ram/hash.h"
#include "ram/progress.h"

#include "keeper.h"
#include "pass.h"
#include "tensor_job.h"
#include "uses.h"

namespace ram {
namespace {

/// What is known so far about one TensorUse.
struct Knowledge {
  std::string hash;               ///< of its content, or of its content when last seen
  bool trusted = false;           ///< hash is that of the current content
  std::vector<PartCurve> curves;  ///< per TensorUse::parts, for `hash`
  bool measured = false;          ///< all curves, and that its elements are finite
};

class Analysis {
 public:
  Analysis(const Checkpoint& checkpoint, Study& study, const AnalyzeOptions& options,
           const ProgressFn& progress)
      : checkpoint_(checkpoint),
        study_(study),
        options_(options),
        progress_(progress),
        uses_(tensor_uses(checkpoint)),
        known_(uses_.size()),
        keeper_(checkpoint, study, options.keep_every_s) {}

  ModelCurves run();
  std::optional<ModelCurves> known();
  const AnalyzeStats& stats() const { return stats_; }

 private:
  const TensorInfo& info(size_t use) const {
    return checkpoint_.tensors[static_cast<size_t>(uses_[use].tensor)].info;
  }
  void look_up_hashes();
  void gather_hashes();
  bool depends_on_others(size_t use) const;
  void look_up_curves(const std::vector<size_t>& uses);
  void pass(const std::vector<size_t>& uses, bool measure, std::string_view phase);
  void finish(TensorJob& job, size_t use);
  void look_up();
  ModelCurves curves() const;
  std::string fingerprint() const;
  std::vector<UnitCurve> unit_curves() const;
  void put_model(const std::string& fingerprint);

  /// @return the uses for which `pick` holds, in the order of the files.
  template <class Pick>
  std::vector<size_t> select(Pick pick) const {
    std::vector<size_t> selected;
    for (size_t use = 0; use < uses_.size(); ++use) {
      if (pick(known_[use])) selected.push_back(use);
    }
    return selected;
  }

  const Checkpoint& checkpoint_;
  Study& study_;
  const AnalyzeOptions& options_;
  const ProgressFn& progress_;
  const std::vector<TensorUse> uses_;
  std::vector<Knowledge> known_;  // per uses_
  // Hashes of the tensors that others' parts depend on; unchanged during a pass.
  std::vector<std::string> hashes_;
  Keeper keeper_;
  AnalyzeStats stats_;
};

// A hash is trusted if its file has not changed since. Otherwise it is the hash of an earlier
// content, and hashing again may show that the content is the same.
void Analysis::look_up_hashes() {
  struct FileHashes {
    std::map<std::string, std::string> trusted;
    std::map<std::string, std::string> stale;
  };
  std::vector<FileHashes> hashes(checkpoint_.files.size());
  for (size_t f = 0; f < hashes.size(); ++f) {
    const InputFile& file = checkpoint_.files[f];
    if (!options_.rehash)
      hashes[f].trusted = CurveTable(study_).tensor_hashes(file.path(), file.identity());
    hashes[f].stale = CurveTable(study_).stale_tensor_hashes(file.path());
  }
  for (size_t use = 0; use < uses_.size(); ++use) {
    const SourceTensor& source = checkpoint_.tensors[static_cast<size_t>(uses_[use].tensor)];
    const FileHashes& file = hashes[static_cast<size_t>(source.file)];
    if (const auto it = file.trusted.find(source.info.name); it != file.trusted.end()) {
      known_[use].hash = it->second;
      known_[use].trusted = true;
    } else if (const auto old = file.stale.find(source.info.name); old != file.stale.end()) {
      known_[use].hash = old->second;
    }
  }
}

void Analysis::gather_hashes() {
  hashes_.assign(checkpoint_.tensors.size(), "");
  for (size_t use = 0; use < uses_.size(); ++use) {
    if (uses_[use].others_need_it) {
      hashes_[static_cast<size_t>(uses_[use].tensor)] = known_[use].hash;
    }
  }
}

bool Analysis::depends_on_others(size_t use) const {
  return std::any_of(uses_[use].parts.begin(), uses_[use].parts.end(), [&](const PartUse& place) {
    const Unit& unit = checkpoint_.units[static_cast<size_t>(place.unit)];
    return !other_tensors(unit.parts[static_cast<size_t>(place.part)]).empty();
  });
}

void Analysis::look_up_curves(const std::vector<size_t>& uses) {
  std::vector<CurveKey> all;
  std::vector<size_t> ends;
  std::vector<bool> complete;
  gather_hashes();
  for (const size_t use : uses) {
    complete.push_back(false);
    if (!known_[use].hash.empty()) {
      auto keys = curve_keys(checkpoint_, uses_[use], known_[use].hash, options_, hashes_);
      for (CurveKey& key : keys.value_or(std::vector<CurveKey>())) all.push_back(std::move(key));
      complete.back() = keys.has_value();
    }
    ends.push_back(all.size());
  }
  const std::map<CurveKey, PartCurve> found = CurveTable(study_).curves(all);
  size_t next = 0;
  for (size_t i = 0; i < uses.size(); ++i) {
    Knowledge& known = known_[uses[i]];
    known.curves.clear();
    known.measured = complete[i];
    for (; next < ends[i]; ++next) {
      const auto curve = found.find(all[next]);
      if (curve == found.end()) {
        known.measured = false;
      } else if (!uses_[uses[i]].parts.empty()) {
        known.curves.push_back(curve->second);
      }
    }
  }
}

void Analysis::pass(const std::vector<size_t>& uses, bool measure, std::string_view phase) {
  std::deque<TensorJob> jobs;
  std::map<const TensorJob*, size_t> use_of;
  for (const size_t use : uses) {
    use_of.emplace(&jobs.emplace_back(checkpoint_, uses_[use], options_, measure), use);
  }
  std::vector<DirectReader> direct;
  if (options_.past_cache) {
    for (const InputFile& file : checkpoint_.files) direct.emplace_back(file);
  }
  try {
    stats_.bytes_read += run_pass(jobs, options_.threads, direct, phase, progress_,
                                  [&](TensorJob& job) { finish(job, use_of.at(&job)); });
    keeper_.commit();
  } catch (...) {
    keeper_.commit_on_error();
    throw;
  }
}

// Called from several workers, each for a different use.
void Analysis::finish(TensorJob& job, size_t use) {
  TensorResult result = job.take_result();
  Knowledge& known = known_[use];
  std::vector<std::pair<CurveKey, PartCurve>> curves;
  if (job.measures()) {
    auto keys = curve_keys(checkpoint_, uses_[use], result.hash, options_, hashes_);
    for (size_t k = 0; k < keys.value().size(); ++k) {
      // The only key of a tensor without parts says that it is finite; there is nothing to add.
      curves.emplace_back(std::move((*keys)[k]),
                          result.parts.empty() ? PartCurve{} : result.parts[k]);
    }
    known.curves = std::move(result.parts);
    known.measured = true;
  } else {
    const bool only_hashed = uses_[use].others_need_it && uses_[use].parts.empty();
    known.measured = only_hashed || (known.measured && known.hash == result.hash);
  }
  known.hash = result.hash;
  known.trusted = true;
  keeper_.add(uses_[use].tensor, result.hash, std::move(curves), info(use).bytes());
}

void Analysis::look_up() {
  RAM_CHECK(is_weight_dtype(options_.dtype) && options_.threads >= 1);
  look_up_hashes();
  look_up_curves(select([](const Knowledge&) { return true; }));
}

std::optional<ModelCurves> Analysis::known() {
  look_up();
  const auto open = select([](const Knowledge& k) { return !k.measured || !k.trusted; });
  if (!open.empty()) return std::nullopt;
  return curves();
}

ModelCurves Analysis::run() {
  const auto start = std::chrono::steady_clock::now();
  look_up();

  // Tensors that were measured before are hashed before they are measured again, and so are those
  // that other tensors' parts depend on.
  std::vector<size_t> doubtful;
  for (size_t use = 0; use < uses_.size(); ++use) {
    const bool needed = known_[use].measured || uses_[use].others_need_it;
    if (needed && !known_[use].trusted) doubtful.push_back(use);
  }
  pass(doubtful, false, "hash");
  std::vector<size_t> changed;
  for (size_t use = 0; use < uses_.size(); ++use) {
    const bool hashed = std::binary_search(doubtful.begin(), doubtful.end(), use);
    if ((hashed && !known_[use].measured) || depends_on_others(use)) changed.push_back(use);
  }
  look_up_curves(changed);

  const std::vector<size_t> unmeasured =
      select([](const Knowledge& known) { return !known.measured || !known.trusted; });
  pass(unmeasured, true, "analyze");
  keeper_.check_files();

  ModelCurves result = curves();
  put_model(result.fingerprint);
  stats_.tensors_measured = static_cast<int64_t>(unmeasured.size());
  stats_.tensors_known = static_cast<int64_t>(uses_.size() - unmeasured.size());
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  stats_.seconds = passed.count();
  return result;
}

ModelCurves Analysis::curves() const {
  return {.fingerprint = fingerprint(),
          .dtype = options_.dtype,
          .encoder = options_.encoder,
          .units = unit_curves()};
}

std::string Analysis::fingerprint() const {
  std::vector<std::string> lines;
  for (size_t use = 0; use < uses_.size(); ++use) {
    const TensorInfo& tensor = info(use);
    std::string shape;
    for (const int64_t size : tensor.shape) {
      shape += fmt::format("{}{}", shape.empty() ? "" : ",", size);
    }
    lines.push_back(fmt::format("{} {} [{}] {}\n", tensor.name, dtype_name(tensor.dtype), shape,
                                known_[use].hash));
  }
  std::sort(lines.begin(), lines.end());
  Hasher hasher;
  for (const std::string& line : lines) hasher.update(line);
  return hasher.digest();
}

std::vector<UnitCurve> Analysis::unit_curves() const {
  std::vector<UnitCurve> curves(checkpoint_.units.size());
  for (size_t u = 0; u < curves.size(); ++u) {
    const Unit& unit = checkpoint_.units[u];
    curves[u].formats = measured_formats(unit);
    curves[u].part_weights = unit.part_weights();
    if (curves[u].formats != 0) curves[u].parts.resize(unit.parts.size());
  }
  for (size_t use = 0; use < uses_.size(); ++use) {
    const std::vector<PartUse>& parts = uses_[use].parts;
    RAM_CHECK(known_[use].curves.size() == parts.size());
    for (size_t p = 0; p < parts.size(); ++p) {
      UnitCurve& curve = curves[static_cast<size_t>(parts[p].unit)];
      curve.parts[static_cast<size_t>(parts[p].part)] = known_[use].curves[p].distortion;
    }
  }
  for (UnitCurve& curve : curves) {
    for (const Distortion& part : curve.parts) curve.pooled += part;
  }
  return curves;
}

void Analysis::put_model(const std::string& fingerprint) {
  std::error_code ignored;
  const std::filesystem::path folder = std::filesystem::absolute(checkpoint_.folder, ignored);
  ModelTable(study_).put({.fingerprint = fingerprint,
                          .name = checkpoint_.name,
                          .model_type = checkpoint_.model_type,
                          .folder = (ignored ? checkpoint_.folder : folder).string(),
                          .weights = checkpoint_.weights(),
                          .bytes = checkpoint_.bytes()});
}

}  // namespace

ModelCurves analyze(const Checkpoint& checkpoint, Study& study, const AnalyzeOptions& options,
                    const ProgressFn& progress, AnalyzeStats* stats) {
  Analysis analysis(checkpoint, study, options, progress);
  ModelCurves curves = analysis.run();
  if (stats != nullptr) *stats = analysis.stats();
  return curves;
}

std::optional<ModelCurves> known_curves(const Checkpoint& checkpoint, Study& study,
                                        const AnalyzeOptions& options) {
  return Analysis(checkpoint, study, options, {}).known();
}

}  // namespace ram
