// Reads config.json: fills in transformers' defaults, writes both spellings side by side
// (docs/formats/checkpoint.md), and then reads and checks the sizes.
#include "config.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ram/error.h"
#include "ram/safetensors.h"

#include "json_text.h"
#include "keys.h"

namespace ram {
namespace {

using Json = nlohmann::json;

const Family& family_of(const Json& config, FamilyTable families, const std::string& file) {
  const auto at = config.find("model_type");
  if (at == config.end() || !at->is_string()) {
    fail(Code::kCorrupt,
         "model_type is missing or not a string: a model's config.json names it ({})", file);
  }
  const auto model_type = at->get<std::string>();
  const Family* family = find_family(families, model_type);
  if (family == nullptr) {
    std::string known;
    for (const Family* one : families)
      known += (known.empty() ? "" : ", ") + std::string(one->model_type);
    fail(Code::kUnsupported, "model_type '{}' is not supported: {} are ({})", printable(model_type),
         known, file);
  }
  return *family;
}

void fill_defaults(Json& config, const Family& family) {
  const Json defaults = parse_json(family.defaults, "a family's defaults");
  for (const auto& [key, value] : defaults.items()) {
    // null heads mean as many as query heads, which is not the default number.
    if (key == "num_key_value_heads" && config.contains(key)) continue;
    if (key == "num_local_experts" && config.contains("num_experts")) continue;
    if (key == "rope_theta") continue;  // spell_rope looks in two places first
    if (!config.contains(key) || config[key].is_null()) config[key] = value;
  }
}

/// "swish" is transformers' other name for silu. @source transformers 5.24, activations.py, ACT2CLS
bool means_the_same(std::string_view key, const Json& found, const Json& wanted) {
  return found == wanted || (key == "hidden_act" && wanted == "silu" && found == "swish");
}

void refuse_what_mlx_ignores(const Json& config, const Family& family, const std::string& file) {
  const Json fixed = parse_json(family.fixed, "a family's fixed keys");
  for (const auto& [key, value] : fixed.items()) {
    if (!config.contains(key) || config[key].is_null() || means_the_same(key, config[key], value)) {
      continue;
    }
    fail(Code::kUnsupported, "{} is {}: mlx_lm's {} model computes with {} only ({})", key,
         Keys::text_of(config[key]), family.model_type, value.dump(), file);
  }
  const Json* traditional = Keys(config, file).find("rope_traditional");
  if (traditional != nullptr && *traditional != false) {
    fail(Code::kUnsupported,
         "rope_traditional is {}: mlx_lm would rotate adjacent pairs and transformers halves, "
         "so their results would differ; only false is supported ({})",
         Keys::text_of(*traditional), file);
  }
}

/// Keys that mlx_lm obeys and transformers does not know for these families: with them mlx_lm
/// rejects the folder, runs a file from it, or loads a different model.
/// @source mlx_lm 0.32.2, utils.py, `load_model` and `save_config`
struct ObeyedKey {
  const char* key;
  const char* why;
};
constexpr std::array<ObeyedKey, 4> kObeyedKeys = {
    {{"model_file", "mlx_lm would refuse the folder, or run that file as the model"},
     {"quantize_activations", "mlx_lm would refuse affine weights"},
     {"text_config", "mlx_lm would take number formats from it"},
     {"vision_config", "mlx_lm.convert leaves it out too"}}};

void drop_what_only_mlx_obeys(ParsedConfig& config) {
  Json& spelled = config.spelled;
  for (const auto& [key, why] : kObeyedKeys) {
    const auto at = spelled.find(key);
    if (at == spelled.end()) continue;
    const bool idle = at->is_null() || *at == false || at->empty();
    if (!idle) {
      config.notes.push_back(
          fmt::format("config.json sets {}; the finished folder leaves it out: {}", key, why));
    }
    spelled.erase(at);
  }
}

/// None of these families rotates only a part of a head; transformers 5 would for some rope types,
/// mlx_lm never.
void refuse_partial_rope(const Json& config, const Json& parameters, const std::string& file) {
  for (const Json* place : {&config, &parameters}) {
    const Json* factor = Keys(*place, file).find("partial_rotary_factor");
    if (factor == nullptr || *factor == 1) continue;
    fail(Code::kUnsupported, "partial_rotary_factor is {}: only 1 is supported ({})",
         Keys::text_of(*factor), file);
  }
}

struct RopeSource {
  Json parameters = Json::object();
  std::vector<Json> thetas;  ///< all values given, the one used first
};

/// @source transformers 5.24, modeling_rope_utils.py, `convert_rope_params_to_dict`: rope_scaling
/// wins, with its theta; then the theta at the top
RopeSource rope_source(const Json& config, const std::string& file) {
  RopeSource rope;
  const Json at_the_top = config.value("rope_theta", Json());
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto at = config.find(key);
    if (at == config.end() || at->is_null()) continue;
    if (!at->is_object()) {
      fail(Code::kCorrupt, "{} is {}: an object or null is allowed ({})", key, Keys::text_of(*at),
           file);
    }
    const bool chosen = rope.parameters.empty();
    if (chosen) rope.parameters = *at;
    const Json own = at->value("rope_theta", Json());
    // A theta in rope_parameters also applies where rope_scaling gives the rest, but last.
    if (!own.is_null()) rope.thetas.insert(chosen ? rope.thetas.begin() : rope.thetas.end(), own);
    if (chosen && !at_the_top.is_null()) rope.thetas.push_back(at_the_top);
  }
  if (rope.parameters.empty() && config.contains("rope_theta")) rope.thetas.push_back(at_the_top);
  for (const auto& [key, value] : rope.parameters.items()) {
    if (value.is_object()) {
      fail(Code::kUnsupported, "rope_parameters by kind of layer ('{}') are not supported ({})",
           printable(key), file);
    }
  }
  refuse_partial_rope(config, rope.parameters, file);
  return rope;
}

/// In the form in which both programs read it: without the theta, which choose_theta handles, and
/// with one name for the type.
Json plain_rope(Json parameters) {
  Json type = parameters.value("rope_type", parameters.value("type", Json("default")));
  parameters.erase("type");
  parameters.erase("rope_theta");
  parameters["rope_type"] = type.is_null() ? Json("default") : std::move(type);
  return parameters;
}

void note_other_rope(const Json& config, std::vector<std::string>& notes) {
  const Json counts = config.value("rope_scaling", Json());
  const Json other = config.value("rope_parameters", Json());
  if (!counts.is_object() || counts.empty() || !other.is_object()) return;
  const Json one = plain_rope(counts);
  const Json two = plain_rope(other);
  Json all = two;
  all.update(one);
  for (const auto& [key, ignored] : all.items()) {
    const Json first = one.value(key, Json());
    const Json second = two.value(key, Json());
    if (first == second) continue;
    notes.push_back(fmt::format(
        "config.json gives {} as {} in rope_scaling and as {} in rope_parameters: rope_scaling "
        "is used, as by transformers 5",
        printable(key), Keys::text_of(first), Keys::text_of(second)));
    return;
  }
}

Json choose_theta(const std::vector<Json>& thetas, const Family& family,
                  std::vector<std::string>& notes) {
  Json theta = thetas.empty() ? Json() : thetas.front();
  if (theta.is_null()) theta = parse_json(family.defaults, "a family's defaults")["rope_theta"];
  for (const Json& other : thetas) {
    if (other == theta || other.is_null()) continue;
    notes.push_back(
        fmt::format("config.json gives rope_theta as {} and as {}: {} is used, as by "
                    "transformers 5",
                    Keys::text_of(theta), Keys::text_of(other), Keys::text_of(theta)));
    break;
  }
  return theta;
}

/// @source mlx_lm 0.32, models/rope_utils.py, `initialize_rope`
Json checked_rope_type(const Json& parameters, const Family& family, const std::string& file) {
  Json type = parameters.value("rope_type", parameters.value("type", Json("default")));
  if (type.is_null()) type = "default";
  static constexpr std::array<std::string_view, 6> kTypes = {"default", "linear", "dynamic",
                                                             "llama3",  "yarn",   "longrope"};
  const bool known = type.is_string() && std::find(kTypes.begin(), kTypes.end(),
                                                   type.get<std::string>()) != kTypes.end();
  if (!known) {
    fail(Code::kUnsupported, "rope_type is {}: mlx_lm knows {} ({})", Keys::text_of(type),
         fmt::join(kTypes, ", "), file);
  }
  if (family.only_linear_rope && type != "default" && type != "linear") {
    fail(Code::kUnsupported, "rope_type is {}: mlx_lm's {} model knows default and linear ({})",
         Keys::text_of(type), family.model_type, file);
  }
  return type;
}

/// rope_theta and rope_scaling at the top, and rope_parameters with both, from whichever exists.
void spell_rope(Json& config, const Family& family, const std::string& file,
                std::vector<std::string>& notes) {
  auto [parameters, thetas] = rope_source(config, file);
  note_other_rope(config, notes);
  const Json theta = choose_theta(thetas, family, notes);
  Keys(config, file).positive_number("rope_theta", theta);
  const Json type = checked_rope_type(parameters, family, file);
  parameters.erase("type");
  parameters["rope_type"] = type;
  parameters["rope_theta"] = theta;
  // Without this key transformers takes max_position_embeddings, mlx_lm a constant; in transformers
  // a value beside the parameters takes precedence.
  // @source transformers 5.23, modeling_rope_utils.py, `standardize_rope_params`
  const bool stretched = type == "llama3" || type == "yarn" || type == "longrope";
  const char* original = "original_max_position_embeddings";
  if (stretched && Keys(config, file).find(original) != nullptr) {
    parameters[original] = config[original];
  } else if (stretched && Keys(parameters, file).find(original) == nullptr) {
    parameters[original] = config.value("max_position_embeddings", Json());
  }
  config["rope_theta"] = theta;
  config["rope_scaling"] = nullptr;
  if (type != "default") {
    config["rope_scaling"] = parameters;
    config["rope_scaling"].erase("rope_theta");
    config["rope_scaling"]["type"] = type;
  }
  config["rope_parameters"] = std::move(parameters);
}

/// num_experts and num_local_experts: the names of one number on the hub and in transformers 5.
void spell_experts(Json& config, const std::string& file) {
  const Keys keys(config, file);
  const Json* hub = keys.find("num_experts");
  const Json* local = keys.find("num_local_experts");
  if (hub == nullptr && local == nullptr) fail(Code::kCorrupt, "num_experts is missing ({})", file);
  if (hub != nullptr && local != nullptr && *hub != *local) {
    fail(Code::kCorrupt, "num_experts is {} and num_local_experts is {}: they must agree ({})",
         Keys::text_of(*hub), Keys::text_of(*local), file);
  }
  const Json count = hub != nullptr ? *hub : *local;
  config["num_experts"] = count;
  config["num_local_experts"] = count;
}

/// Heads and their size, filled in where config.json omits them.
void spell_heads(Json& config, const Family& family, const std::string& file) {
  const Keys keys(config, file);
  const int64_t hidden = keys.integer("hidden_size", 1, kMaxWidth);
  const int64_t heads = keys.integer("num_attention_heads", 1, kMaxHeads);
  if (keys.find("num_key_value_heads") == nullptr) config["num_key_value_heads"] = heads;
  const bool given = keys.find("head_dim") != nullptr;
  if (!given && hidden % heads != 0) {
    fail(Code::kCorrupt,
         "hidden_size {} is not a multiple of num_attention_heads {}, and head_dim is "
         "missing ({})",
         hidden, heads, file);
  }
  const int64_t head_dim = given ? keys.integer("head_dim", 1, kMaxWidth) : hidden / heads;
  if (family.own_head_dim) {
    config["head_dim"] = head_dim;
  } else if (head_dim * heads != hidden) {
    fail(Code::kUnsupported,
         "head_dim {} with {} heads and hidden_size {}: mlx_lm's {} model takes "
         "hidden_size / heads ({})",
         head_dim, heads, hidden, family.model_type, file);
  }
}

bool family_uses(const Family& family, Dim dim) {
  for (const auto& block : family.layer) {
    for (const ModuleRow& row : block) {
      if (row.rows == dim || row.cols == dim || (row.kind == Kind::kStack && row.parts == dim)) {
        return true;
      }
    }
  }
  return false;
}

void read_sizes(ParsedConfig& config, const Keys& keys, const Family& family) {
  config.sizes.assign(static_cast<size_t>(Dim::kExperts) + 1, 0);
  const auto set = [&config](Dim dim, int64_t value) {
    config.sizes[static_cast<size_t>(dim)] = value;
  };
  const int64_t heads = keys.integer("num_attention_heads", 1, kMaxHeads);
  const int64_t kv_heads = keys.integer("num_key_value_heads", 1, kMaxHeads);
  const int64_t hidden = keys.integer("hidden_size", 1, kMaxWidth);
  const int64_t head_dim =
      family.own_head_dim ? keys.integer("head_dim", 1, kMaxWidth) : hidden / heads;
  set(Dim::kNone, 1);
  set(Dim::kOne, 1);
  set(Dim::kHidden, hidden);
  set(Dim::kVocab, keys.integer("vocab_size", 1, kMaxWidth));
  set(Dim::kQuery, heads * head_dim);
  set(Dim::kKeyValue, kv_heads * head_dim);
  set(Dim::kHeadDim, head_dim);
  struct Optional {
    Dim dim;
    const char* key;
    int64_t most;
  };
  static constexpr std::array<Optional, 4> kOptional = {
      {{Dim::kIntermediate, "intermediate_size", kMaxWidth},
       {Dim::kExpertWidth, "moe_intermediate_size", kMaxWidth},
       {Dim::kSharedWidth, "shared_expert_intermediate_size", kMaxWidth},
       {Dim::kExperts, "num_experts", kMaxExperts}}};
  for (const auto& [dim, key, most] : kOptional) {
    if (family_uses(family, dim)) set(dim, keys.integer(key, 1, most));
  }
}

/// JSON has no NaN and no infinities. @source mlx_lm 0.32.2, utils.py, `_encode_tagged_floats`, and
/// transformers 5.24, configuration_utils.py, which read these objects as numbers
void tag_numbers(Json& value) {
  if (value.is_structured()) {
    for (Json& child : value) tag_numbers(child);
  } else if (value.is_number_float() && !Keys::is_finite(value)) {
    value = {{"__float__", Keys::text_of(value)}};
  }
}

std::vector<DType> read_dtypes(const Keys& keys) {
  std::vector<DType> dtypes;
  for (const char* key : {"torch_dtype", "dtype"}) {
    const Json* value = keys.find(key);
    if (value == nullptr || !value->is_string()) continue;
    const auto dtype = parse_weight_dtype(value->get<std::string>());
    if (dtype && (dtypes.empty() || dtypes.front() != *dtype)) dtypes.push_back(*dtype);
  }
  return dtypes;
}

/// Two places that should agree: mlx_lm looks at `quantization` first.
void note_other_quantization(const Json& spelled, std::vector<std::string>& notes) {
  const auto one = spelled.find("quantization");
  const auto other = spelled.find("quantization_config");
  if (one == spelled.end() || other == spelled.end() || !other->is_object()) return;
  if (other->empty() || *one == *other) return;
  notes.emplace_back(
      "config.json's quantization and quantization_config differ: quantization is used, as by "
      "mlx_lm");
}

}  // namespace

ParsedConfig parse_config(std::string_view text, const std::string& file, Quantized quantized,
                          FamilyTable known) {
  ParsedConfig config;
  config.spelled = parse_json(text, file, kAsPython);
  Json& spelled = config.spelled;
  if (!spelled.is_object()) {
    fail(Code::kCorrupt, "{} where a JSON object is expected ({})", Keys::text_of(spelled), file);
  }
  const Family& family = family_of(spelled, known, file);
  config.family = &family;
  config.stored = StoredFormats::parse(spelled, quantized, file);
  if (config.stored.any()) note_other_quantization(spelled, config.notes);
  fill_defaults(spelled, family);
  refuse_what_mlx_ignores(spelled, family, file);
  spell_rope(spelled, family, file, config.notes);
  spell_heads(spelled, family, file);
  if (family.expert_layers != nullptr) spell_experts(spelled, file);
  for (const char* key : {"quantization", "quantization_config", "_name_or_path"})
    spelled.erase(key);

  drop_what_only_mlx_obeys(config);
  if (family.settle != nullptr) family.settle(spelled, config.notes, file);

  const Keys keys(spelled, file);
  config.model.model_type = family.model_type;
  const int64_t layers = keys.integer("num_hidden_layers", 1, kMaxLayers);
  read_sizes(config, keys, family);
  const std::vector<bool> sparse = family.expert_layers != nullptr
                                       ? family.expert_layers(keys, layers, file)
                                       : std::vector<bool>(static_cast<size_t>(layers));
  for (const bool has_experts : sparse) {
    LayerConfig& layer = config.model.layers.emplace_back();
    if (has_experts) layer.experts.emplace();  // read_model_config decides which
  }
  config.attention_bias = keys.boolean("attention_bias", false);
  config.mlp_bias = keys.boolean("mlp_bias", false);
  if (keys.find("tie_word_embeddings") != nullptr) {
    config.tied = keys.boolean("tie_word_embeddings", false);
  }
  config.dtypes = read_dtypes(keys);
  read_model_config(config, file);
  tag_numbers(spelled);
  return config;
}

}  // namespace ram
