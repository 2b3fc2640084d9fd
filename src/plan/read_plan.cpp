// Finds plan.json: the file itself, or the folder that contains it.
#include "ram/error.h"
#include "ram/file.h"
#include "ram/json.h"
#include "ram/json_tree.h"
#include "ram/plan.h"

namespace ram {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kLargestPlan = int64_t{64} << 20;

}  // namespace

fs::path plan_file(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error) ? path / "plan.json" : path;
}

Plan read_plan(const fs::path& path) {
  const fs::path file = plan_file(path);
  std::error_code error;
  if (file != path && fs::status(file, error).type() == fs::file_type::not_found) {
    fail(Code::kMissing,
         "{} is a folder without a plan.json: ram did not make it; give a folder that ram fit "
         "wrote, or the file that ram plan wrote",
         path.string());
  }
  return parse_plan(read_text_file(file, kLargestPlan), file.string());
}

std::optional<std::string> plan_text(const fs::path& folder) {
  const fs::path file = folder / "plan.json";
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return std::nullopt;
  try {
    std::string text = read_text_file(file, kLargestPlan);
    const JsonTree plan(parse_json(text, file.string()));
    const bool ours = plan->is_object() && plan->contains("ram_plan");
    return ours ? std::optional(std::move(text)) : std::nullopt;
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace ram
