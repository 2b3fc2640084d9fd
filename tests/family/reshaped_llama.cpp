// Llama whose mlps are stored differently: gate and up are even and odd columns of one tensor, as
// in gpt_oss, and down is transposed; k and v are halves of one tensor. Shows how a family's file
// describes tensors in another shape.
#include <algorithm>

#include "families/common.h"
#include "family/test_families.h"

namespace ram {
namespace {

constexpr std::array kEvenColumns = {Step{StepKind::kTranspose}, Step{StepKind::kEvenRows}};
constexpr std::array kOddColumns = {Step{StepKind::kTranspose}, Step{StepKind::kOddRows}};
constexpr std::array kTransposed = {Step{StepKind::kTranspose}};
constexpr std::array kFirstRows = {Step{StepKind::kFirstRows, Dim::kKeyValue}};
constexpr std::array kLastRows = {Step{StepKind::kLastRows, Dim::kKeyValue}};

constexpr std::array kGate = {Source{"model.layers.{l}.mlp.gate_up", kEvenColumns}};
constexpr std::array kUp = {Source{"model.layers.{l}.mlp.gate_up", kOddColumns}};
constexpr std::array kDown = {Source{"model.layers.{l}.mlp.down", kTransposed}};
constexpr std::array kKeys = {Source{"model.layers.{l}.self_attn.kv.weight", kFirstRows}};
constexpr std::array kValues = {Source{"model.layers.{l}.self_attn.kv.weight", kLastRows}};

constexpr auto rows() {
  std::array<ModuleRow, 7> all = {};
  const auto attention_rows = attention(Bias::kNever, Bias::kNever);
  const auto mlp_rows = dense_mlp(Bias::kNever, When::kAlways);
  std::copy(attention_rows.begin(), attention_rows.end(), all.begin());
  std::copy(mlp_rows.begin(), mlp_rows.end(), all.begin() + 4);
  all[1].sources = kKeys;
  all[2].sources = kValues;
  all[4].sources = kGate;
  all[5].sources = kUp;
  all[6].sources = kDown;
  return all;
}
constexpr auto kRows = rows();
constexpr std::array kLayer = {ModuleRows(kInputNorm), ModuleRows(kRows).first(4),
                               ModuleRows(kPostNorm), ModuleRows(kRows).last(3)};

}  // namespace

constexpr Family kReshapedLlama = {
    .model_type = "reshaped_llama",
    .before = kBefore,
    .layer = kLayer,
    .after = kAfter,
    .own_head_dim = true,
    .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-06,
                    "max_position_embeddings": 2048})",
    .fixed = R"({"hidden_act": "silu"})",
};

}  // namespace ram
