// The model card of a finished folder: base model, licence, the plan by role, how to run it, the
// command that recreates it. All text from outside is quoted for its destination.
#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "ram/size.h"
#include "ram/text.h"
#include "ram/what_if.h"

#include "assemble.h"

namespace ram {
namespace {

// "4:64 (3), bf16 (1)", by kAffineFormats; unquantized last.
std::string formats_text(const RoleShare& share) {
  std::map<int, std::string> texts;
  for (const auto& [name, units] : share.formats) {
    const std::optional<AffineFormat> format = parse_format(name);
    texts[format ? format_index(*format) : kFormatCount] = fmt::format("{} ({})", name, units);
  }
  std::string text;
  for (const auto& [index, one] : texts) text += (text.empty() ? "" : ", ") + one;
  return text;
}

// Quoted, since YAML could interpret the text as something else.
std::string yaml_text(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : printable(text, std::string_view::npos)) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

std::string yaml_line(std::string_view key, std::string_view value) {
  return value.empty() ? "" : fmt::format("{}: {}\n", key, yaml_text(value));
}

std::string yaml_list(std::string_view key, const std::vector<std::string>& values) {
  if (values.empty()) return "";
  std::string text = fmt::format("{}:\n", key);
  for (const std::string& value : values) text += fmt::format("- {}\n", yaml_text(value));
  return text;
}

// Markdown and HTML in a name must not become markup.
std::string markdown_text(std::string_view text) {
  constexpr std::string_view kMarkup = "\\`*[]<>#|&";
  std::string escaped;
  for (const char c : printable(text, std::string_view::npos)) {
    if (kMarkup.find(c) != std::string_view::npos) escaped += '\\';
    escaped += c;
  }
  return escaped;
}

/// The hub resolves base_model; a plain folder's name has no meaning there. Only a repository's id
/// contains a slash.
bool is_repository(std::string_view name) {
  return std::count(name.begin(), name.end(), '/') == 1;
}

/// The source's card, as far as it applies to the output, plus the fields of mlx_lm's own cards.
/// @source mlx_lm 0.32.2, utils.py, `create_model_card`
std::string front_matter(const ModelCard& card, const std::string& model) {
  std::vector<std::string> tags = card.tags;
  for (const char* tag : {"mlx", "quantized"}) {
    if (std::find(tags.begin(), tags.end(), tag) == tags.end()) tags.emplace_back(tag);
  }
  std::string text = "---\nlibrary_name: mlx\n";
  if (is_repository(model)) {
    text += yaml_line("base_model", model) + "base_model_relation: quantized\n";
  }
  text += yaml_line("license", card.licence) + yaml_line("license_name", card.licence_name) +
          yaml_line("license_link", card.licence_link) + yaml_list("language", card.languages);
  return text + "pipeline_tag: text-generation\n" + yaml_list("tags", tags) + "---\n";
}

/// How the plan was calibrated, and on which text.
std::string calibration_text(const PlanRequest& request) {
  const std::string& text = request.calibration;
  if (text.empty()) return "without calibration data";
  if (text.starts_with("own")) return "calibrated on text that the model wrote itself";
  if (text.starts_with("random")) return "calibrated on random ids";
  return fmt::format("calibrated on a text (plan.json: `{}`)",
                     printable(text, std::string_view::npos));
}

constexpr std::string_view kUse =
    R"(Run it with [mlx_lm](https://github.com/ml-explore/mlx-lm), here from this folder:

```sh
pip install mlx-lm
mlx_lm.generate --model . --prompt "Hello"
```

```python
from mlx_lm import generate, load

model, tokenizer = load(".")
prompt = "Hello"
if tokenizer.chat_template is not None:
    messages = [{"role": "user", "content": prompt}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
print(generate(model, tokenizer, prompt=prompt))
```
)";

constexpr std::string_view kUseWithoutTokenizer =
    "The source has no tokenizer, so this folder has none either: mlx_lm needs one to run.\n";

// Padding after a budget, so that the card's length does not depend on it.
std::string padding(int64_t bytes) {
  constexpr size_t kMostDigits = 19;
  return std::string(kMostDigits - std::min(kMostDigits, std::to_string(bytes).size()), ' ');
}

// The command that recreates this folder. Measurements with a time limit are not repeated:
// plan.json has their results.
std::string same_again(const Checkpoint& checkpoint, const Plan& plan) {
  const PlanRequest& request = plan.request;
  const std::string model = shell_word(plan.model_name);
  const auto origin = parse_calibration(request.calibration);
  const bool on_file = origin && origin->source == "file";
  std::string command;
  if (request.probe_seconds > 0) {
    command = fmt::format("ram quantize {} --plan plan.json{} -o OUT", model,
                          on_file ? " --calibration FILE" : "");
  } else {
    const std::string dtype = plan.dtype == checkpoint.default_dtype()
                                  ? ""
                                  : fmt::format(" --dtype {}", weight_dtype_name(plan.dtype));
    command = fmt::format("ram fit {} {}{} -o OUT{}", model, request_options(request), dtype,
                          request.budget_bytes ? padding(*request.budget_bytes) : "");
  }
  if (on_file) command += fmt::format("\n\nFILE is the text whose SHA-256 is {}.", origin->sha256);
  return command;
}

// A KL if the plan's loss is one; the loss of another method has no scale.
std::string loss_text(const Plan& plan) {
  if (nothing_quantized(plan)) return "loss: none, nothing is quantized";
  if (plan.method == Method::kMeasured) {
    return fmt::format("predicted KL: {:.3g} nats per token; {}", plan.objective, optimality(plan));
  }
  return fmt::format("loss ({}): {}", method_name(plan.method), optimality(plan));
}

}  // namespace

std::string render_readme(const Checkpoint& checkpoint, const Plan& plan) {
  std::string table =
      "| role | units | weights | bits per weight | bytes | formats (units) "
      "|\n|---|---|---|---|---|---|\n";
  for (const auto& [role, share] : role_shares(checkpoint, plan)) {
    table += fmt::format("| {} | {} | {} | {:.2f} | {} | {} |\n", role_name(role), share.units,
                         share.weights, share.bits_per_weight(), share.bytes, formats_text(share));
  }
  const std::string name = markdown_text(plan.model_name);
  return front_matter(checkpoint.card, plan.model_name) +
         fmt::format(
             "\n# {} at {:.2f} bits per weight\n\n"
             "Made from {} by ram {}: mixed-precision MLX affine quantization, {}. Each group of "
             "weights has the number format that spends the budget best; `plan.json` says which "
             "and why.\n\n"
             "- size of this folder: {} bytes (budget {}){}\n"
             "- {}\n"
             "- unquantized tensors, scales and biases: {}\n\n{}\n{}\n"
             "Make it again:\n\n    {}\n",
             name, plan.bits_per_weight, name, RAM_VERSION, calibration_text(plan.request),
             plan.total_bytes, plan.budget_bytes, padding(plan.budget_bytes), loss_text(plan),
             weight_dtype_name(plan.dtype), table,
             checkpoint.has_tokenizer() ? kUse : kUseWithoutTokenizer,
             same_again(checkpoint, plan));
}

}  // namespace ram
