#include "support/tiny_model.h"

#include <cstdio>

#include "ram/file.h"

namespace ram::testing {

void write_tensors(const std::filesystem::path& path, std::span<const TensorSpec> specs,
                   const std::function<std::vector<float>(const TensorSpec&)>& values,
                   const std::map<std::string, std::string>& metadata) {
  OutputFile file(path);
  const std::string header = render_safetensors_header(specs, metadata);
  file.write(0, std::as_bytes(std::span(header)));
  auto offset = static_cast<int64_t>(header.size());
  for (const TensorSpec& spec : specs) {
    const std::vector<float> floats = values(spec);
    std::vector<std::byte> bytes(static_cast<size_t>(spec.bytes()));
    from_f32(floats.data(), spec.dtype, spec.elements(), bytes.data());
    file.write(offset, bytes);
    offset += spec.bytes();
  }
  file.finish();
}

namespace {

void add_experts(const TinyModel& m, const std::string& layer, std::vector<TensorSpec>& out) {
  const bool mixtral = m.model_type == "mixtral";
  const int64_t width = mixtral ? m.intermediate : m.expert_width;
  // transformers 5 calls mixtral's block mlp if it packs the experts.
  const bool own_block = mixtral && m.expert_layout != ExpertLayout::kPacked;
  const std::string block = layer + (own_block ? "block_sparse_moe." : "mlp.");
  out.push_back({block + "gate.weight", m.dtype, {m.experts, m.hidden}});
  if (m.expert_layout == ExpertLayout::kPacked) {
    out.push_back({block + "experts.gate_up_proj", m.dtype, {m.experts, 2 * width, m.hidden}});
    out.push_back({block + "experts.down_proj", m.dtype, {m.experts, m.hidden, width}});
  } else if (m.expert_layout == ExpertLayout::kMlx) {
    const std::string mlp = block + "switch_mlp.";
    out.push_back({mlp + "gate_proj.weight", m.dtype, {m.experts, width, m.hidden}});
    out.push_back({mlp + "up_proj.weight", m.dtype, {m.experts, width, m.hidden}});
    out.push_back({mlp + "down_proj.weight", m.dtype, {m.experts, m.hidden, width}});
  } else {
    for (int64_t e = 0; e < m.experts; ++e) {
      const std::string expert = block + "experts." + std::to_string(e) + ".";
      const auto name = [&](const char* own, const char* common) {
        return expert + (mixtral ? own : common) + ".weight";
      };
      out.push_back({name("w1", "gate_proj"), m.dtype, {width, m.hidden}});
      out.push_back({name("w3", "up_proj"), m.dtype, {width, m.hidden}});
      out.push_back({name("w2", "down_proj"), m.dtype, {m.hidden, width}});
    }
  }
  if (m.model_type == "qwen2_moe") {
    const std::string shared = block + "shared_expert.";
    out.push_back({shared + "gate_proj.weight", m.dtype, {m.shared_width, m.hidden}});
    out.push_back({shared + "up_proj.weight", m.dtype, {m.shared_width, m.hidden}});
    out.push_back({shared + "down_proj.weight", m.dtype, {m.hidden, m.shared_width}});
    out.push_back({block + "shared_expert_gate.weight", m.dtype, {1, m.hidden}});
  }
}

void add_layer(const TinyModel& m, int64_t index, std::vector<TensorSpec>& out) {
  const std::string layer = "model.layers." + std::to_string(index) + ".";
  const int64_t q = m.heads * m.head_dim();
  const int64_t kv = m.kv_heads * m.head_dim();
  out.push_back({layer + "input_layernorm.weight", m.dtype, {m.hidden}});
  out.push_back({layer + "self_attn.q_proj.weight", m.dtype, {q, m.hidden}});
  out.push_back({layer + "self_attn.k_proj.weight", m.dtype, {kv, m.hidden}});
  out.push_back({layer + "self_attn.v_proj.weight", m.dtype, {kv, m.hidden}});
  out.push_back({layer + "self_attn.o_proj.weight", m.dtype, {m.hidden, q}});
  if (m.attention_bias || m.model_type.starts_with("qwen2")) {
    out.push_back({layer + "self_attn.q_proj.bias", m.dtype, {q}});
    out.push_back({layer + "self_attn.k_proj.bias", m.dtype, {kv}});
    out.push_back({layer + "self_attn.v_proj.bias", m.dtype, {kv}});
  }
  if (m.attention_bias) out.push_back({layer + "self_attn.o_proj.bias", m.dtype, {m.hidden}});
  if (m.model_type.starts_with("qwen3")) {
    out.push_back({layer + "self_attn.q_norm.weight", m.dtype, {m.head_dim()}});
    out.push_back({layer + "self_attn.k_norm.weight", m.dtype, {m.head_dim()}});
  }
  out.push_back({layer + "post_attention_layernorm.weight", m.dtype, {m.hidden}});
  bool dense = !m.moe();
  for (const int64_t d : m.dense_layers) dense = dense || d == index;
  if (!dense) return add_experts(m, layer, out);
  out.push_back({layer + "mlp.gate_proj.weight", m.dtype, {m.intermediate, m.hidden}});
  out.push_back({layer + "mlp.up_proj.weight", m.dtype, {m.intermediate, m.hidden}});
  out.push_back({layer + "mlp.down_proj.weight", m.dtype, {m.hidden, m.intermediate}});
}

std::string architecture(const std::string& model_type) {
  static const std::map<std::string, std::string> kNames = {
      {"llama", "LlamaForCausalLM"},        {"mistral", "MistralForCausalLM"},
      {"qwen2", "Qwen2ForCausalLM"},        {"qwen3", "Qwen3ForCausalLM"},
      {"qwen3_moe", "Qwen3MoeForCausalLM"}, {"qwen2_moe", "Qwen2MoeForCausalLM"},
      {"mixtral", "MixtralForCausalLM"}};
  return kNames.at(model_type);
}

}  // namespace

std::vector<TensorSpec> tiny_model_tensors(const TinyModel& m) {
  std::vector<TensorSpec> out;
  out.push_back({"model.embed_tokens.weight", m.dtype, {m.vocab, m.hidden}});
  for (int64_t i = 0; i < m.layers; ++i) add_layer(m, i, out);
  out.push_back({"model.norm.weight", m.dtype, {m.hidden}});
  if (!m.tied) out.push_back({"lm_head.weight", m.dtype, {m.vocab, m.hidden}});
  return out;
}

std::vector<float> tiny_model_values(const TinyModel& m, const TensorSpec& spec) {
  const bool norm = spec.shape.size() == 1 && !spec.name.ends_with(".bias");
  auto values = random_values(m.seed, spec.name, spec.elements(), norm ? 1.0F : 0.0F, 0.08F);
  if (m.edit) m.edit(spec.name, values);
  return values;
}

nlohmann::json tiny_model_config(const TinyModel& m) {
  const char* dtype = m.dtype == DType::kF32   ? "float32"
                      : m.dtype == DType::kF16 ? "float16"
                                               : "bfloat16";
  nlohmann::json c = {
      {"architectures", {architecture(m.model_type)}},
      {"model_type", m.model_type},
      {"hidden_size", m.hidden},
      {"num_hidden_layers", m.layers},
      {"num_attention_heads", m.heads},
      {"num_key_value_heads", m.kv_heads},
      {"intermediate_size", m.intermediate},
      {"vocab_size", m.vocab},
      {"hidden_act", "silu"},
      {"max_position_embeddings", 512},
      {"rms_norm_eps", 1e-06},
      {"tie_word_embeddings", m.tied},
      {"bos_token_id", 1},
      {"eos_token_id", 2},
  };
  if (m.model_type == "llama") c["attention_bias"] = m.attention_bias;
  if (m.model_type.starts_with("qwen3")) c["head_dim"] = m.head_dim();
  if (m.moe()) {
    // transformers 5.23 renames the key of qwen3_moe when it saves, and leaves qwen2_moe's.
    const bool renamed = m.model_type == "qwen3_moe" && m.spelling == Spelling::kTransformers5;
    c[m.model_type == "mixtral" || renamed ? "num_local_experts" : "num_experts"] = m.experts;
    c["num_experts_per_tok"] = 2;
    if (m.model_type != "mixtral") {
      c["moe_intermediate_size"] = m.expert_width;
      c["decoder_sparse_step"] = 1;
      c["mlp_only_layers"] = m.dense_layers;
      c["norm_topk_prob"] = m.model_type == "qwen3_moe";
    }
    if (m.model_type == "qwen2_moe") c["shared_expert_intermediate_size"] = m.shared_width;
  }
  if (m.spelling == Spelling::kHub) {
    c["torch_dtype"] = dtype;
    c["rope_theta"] = 500000.0;
    c["rope_scaling"] = nullptr;
  } else {
    c["dtype"] = dtype;
    c["rope_parameters"] = {{"rope_theta", 500000.0}, {"rope_type", "default"}};
  }
  return c;
}

std::vector<TensorSpec> write_tiny_model(const std::filesystem::path& folder, const TinyModel& m) {
  std::filesystem::create_directories(folder);
  write_file_atomic(folder / "config.json", tiny_model_config(m).dump(2) + "\n");
  write_file_atomic(folder / "tokenizer.json", "{\"model\": {\"type\": \"BPE\", \"vocab\": {}}}\n");
  write_file_atomic(folder / "tokenizer_config.json", "{\"tokenizer_class\": \"none\"}\n");
  std::vector<TensorSpec> specs = tiny_model_tensors(m);
  const auto values = [&m](const TensorSpec& spec) { return tiny_model_values(m, spec); };
  if (m.shards == 1) {
    write_tensors(folder / "model.safetensors", specs, values);
    return specs;
  }
  nlohmann::json map;
  int64_t bytes = 0;
  const auto count = static_cast<size_t>(m.shards);
  for (size_t shard = 0; shard < count; ++shard) {
    char name[64];
    snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard + 1, count);
    const size_t first = specs.size() * shard / count;
    const size_t last = specs.size() * (shard + 1) / count;
    const auto some = std::span(specs).subspan(first, last - first);
    write_tensors(folder / name, some, values);
    for (const TensorSpec& spec : some) map[spec.name] = name, bytes += spec.bytes();
  }
  if (m.index) {
    const nlohmann::json index = {{"metadata", {{"total_size", bytes}}}, {"weight_map", map}};
    write_file_atomic(folder / "model.safetensors.index.json", index.dump(2) + "\n");
  }
  return specs;
}

}  // namespace ram::testing
