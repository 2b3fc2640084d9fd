// A finished folder as it is on disk, read without trusting any of it: files, plan, tensors; and
// the list of what is wrong with it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ram/file.h"
#include "ram/plan.h"
#include "ram/safetensors.h"
#include "ram/text.h"

namespace ram {

/// The problems that verify finds, one line each.
class Problems {
 public:
  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    // A folder of another model differs in every tensor, and 20,000 lines help no one.
    if (++count_ > kMost) return;
    std::string line = printable(fmt::format(format, std::forward<Args>(args)...), kLongest);
    if (std::find(lines_.begin(), lines_.end(), line) != lines_.end()) {
      --count_;  // two checks found the same problem
    } else {
      lines_.push_back(std::move(line));
    }
  }

  bool empty() const { return count_ == 0; }

  std::vector<std::string> take() {
    if (count_ > kMost) lines_.push_back(fmt::format("and {} more", count_ - kMost));
    return std::move(lines_);
  }

 private:
  static constexpr int64_t kMost = 200;
  static constexpr size_t kLongest = 900;  // bytes of a line, which may quote names from the files
  int64_t count_ = 0;
  std::vector<std::string> lines_;
};

/// A tensor of the folder and the file that contains it.
struct FoundTensor {
  TensorInfo info;
  const InputFile* file = nullptr;
};

struct FolderView {
  std::filesystem::path out;
  std::map<std::string, int64_t> files;  ///< name relative to `out`, size; without clutter
  int64_t total_bytes = 0;
  std::string plan_text;
  std::optional<Plan> plan;  ///< empty if it cannot be read
  std::deque<InputFile> shards;
  std::map<std::string, FoundTensor> tensors;

  const FoundTensor* find(const std::string& tensor) const {
    const auto found = tensors.find(tensor);
    return found == tensors.end() ? nullptr : &found->second;
  }
};

/// The tensors found for one planned unit. `weight` is null if anything is wrong with them.
struct FoundUnit {
  const FoundTensor* weight = nullptr;
  const FoundTensor* scales = nullptr;
  const FoundTensor* biases = nullptr;
};

/// Lists the files and reads plan, headers and index. @throws Error{kMissing} no such folder.
FolderView read_folder(const std::filesystem::path& out, Problems& problems);

/// Checks names, dtypes, shapes and bytes of all tensors against the plan.
/// @return one per planned unit.
std::vector<FoundUnit> check_tensors(const FolderView& view, Problems& problems);

/// Checks that mlx_lm will load every module in the plan's format.
void check_config(const FolderView& view, Problems& problems);

/// Checks that the plan's totals are the folder's.
void check_totals(const FolderView& view, Problems& problems);

}  // namespace ram
