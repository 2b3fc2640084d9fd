#include "arch/blocks.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "ram/error.h"

namespace ram {

int LayerContext::unit(std::string_view module) const {
  const std::string name = fmt::format("model.layers.{}.{}", layer, module);
  const auto& units = checkpoint.units;
  const auto at = std::find_if(units.begin(), units.end(),
                               [&name](const Unit& unit) { return unit.name == name; });
  RAM_CHECK(at != units.end());
  return static_cast<int>(at - units.begin());
}

Stage attention_stage(const LayerContext& context) {
  const AttentionConfig& config = context.own().attention;
  RAM_CHECK(config.kind == AttentionKind::kGroupedQuery);
  const AttentionSpec spec{.layer = context.layer,
                           .heads = config.heads,
                           .kv_heads = config.kv_heads,
                           .key_dim = config.key_dim,
                           .value_dim = config.value_dim,
                           .window = config.window};
  const int norm = context.unit("input_layernorm");
  const int q_proj = context.unit("self_attn.q_proj");
  const int k_proj = context.unit("self_attn.k_proj");
  const int v_proj = context.unit("self_attn.v_proj");
  const int o_proj = context.unit("self_attn.o_proj");
  const int q_norm = config.head_norms ? context.unit("self_attn.q_norm") : -1;
  const int k_norm = config.head_norms ? context.unit("self_attn.k_norm") : -1;
  const double epsilon = context.config.rms_norm_eps;
  Stage stage;
  for (const int unit : {q_proj, k_proj, v_proj, o_proj}) stage.weights.push_back({.unit = unit});
  stage.ends_block = true;
  stage.run = [=](Operations& operations, Sequence& sequence) {
    Tensor normed = operations.rms_norm(sequence.hidden, norm, epsilon);
    Tensor q = operations.linear(normed, q_proj);
    Tensor k = operations.linear(normed, k_proj);
    const Tensor v = operations.linear(normed, v_proj);
    normed = {};
    if (q_norm >= 0) {
      q = operations.rms_norm(q, q_norm, epsilon);
      k = operations.rms_norm(k, k_norm, epsilon);
    }
    const int64_t step = sequence.abreast.empty() ? 1 : 0;
    operations.rope(q, spec.layer, spec.heads, sequence.position, step);
    operations.rope(k, spec.layer, spec.kv_heads, sequence.position, step);
    const Tensor mixed =
        sequence.abreast.empty()
            ? operations.attention(q, k, v, spec, sequence.state, sequence.position)
            : operations.attention_abreast(q, k, v, spec, sequence.abreast, sequence.position);
    operations.add(sequence.hidden, operations.linear(mixed, o_proj));
  };
  return stage;
}

Stage dense_mlp_stage(const LayerContext& context) {
  const int norm = context.unit("post_attention_layernorm");
  const int gate_proj = context.unit("mlp.gate_proj");
  const int up_proj = context.unit("mlp.up_proj");
  const int down_proj = context.unit("mlp.down_proj");
  const double epsilon = context.config.rms_norm_eps;
  Stage stage;
  for (const int unit : {gate_proj, up_proj, down_proj}) stage.weights.push_back({.unit = unit});
  stage.ends_block = true;
  stage.run = [=](Operations& operations, Sequence& sequence) {
    const Tensor normed = operations.rms_norm(sequence.hidden, norm, epsilon);
    const Tensor inner = operations.gated_linear(normed, gate_proj, up_proj);
    operations.add(sequence.hidden, operations.linear(inner, down_proj));
  };
  return stage;
}

namespace {

Stage route_stage(const LayerContext& context, const std::string& block) {
  const int norm = context.unit("post_attention_layernorm");
  const int router = context.unit(block + ".gate");
  const RouteSpec spec{.experts_per_token = context.own().experts->per_token,
                       .renormalise = context.own().experts->renormalise};
  const double epsilon = context.config.rms_norm_eps;
  Stage stage;
  stage.weights = {{.unit = router}};
  stage.run = [=](Operations& operations, Sequence& sequence) {
    sequence.normed = operations.rms_norm(sequence.hidden, norm, epsilon);
    sequence.routing = operations.route(operations.linear(sequence.normed, router), spec);
    sequence.sum = operations.zeros(sequence.hidden.rows, sequence.hidden.cols);
  };
  return stage;
}

Stage expert_range_stage(const LayerContext& context, const std::string& block, ExpertRange range) {
  const int gate_proj = context.unit(block + ".switch_mlp.gate_proj");
  const int up_proj = context.unit(block + ".switch_mlp.up_proj");
  const int down_proj = context.unit(block + ".switch_mlp.down_proj");
  Stage stage;
  for (const int unit : {gate_proj, up_proj, down_proj}) {
    stage.weights.push_back({.unit = unit, .first_part = range.first, .last_part = range.last});
  }
  stage.run = [=](Operations& operations, Sequence& sequence) {
    const Routing& routing = sequence.routing;
    const Tensor x = operations.gather(sequence.normed, routing, range);
    const Tensor inner = operations.grouped_gated_linear(x, gate_proj, up_proj, routing, range);
    operations.combine(sequence.sum, operations.grouped_linear(inner, down_proj, routing, range),
                       routing, range);
  };
  return stage;
}

Stage shared_expert_stage(const LayerContext& context, const std::string& block) {
  const int gate_proj = context.unit(block + ".shared_expert.gate_proj");
  const int up_proj = context.unit(block + ".shared_expert.up_proj");
  const int down_proj = context.unit(block + ".shared_expert.down_proj");
  const int gate = context.unit(block + ".shared_expert_gate");
  Stage stage;
  for (const int unit : {gate_proj, up_proj, down_proj, gate}) {
    stage.weights.push_back({.unit = unit});
  }
  stage.run = [=](Operations& operations, Sequence& sequence) {
    const Tensor inner = operations.gated_linear(sequence.normed, gate_proj, up_proj);
    Tensor shared = operations.linear(inner, down_proj);
    operations.scale_by_sigmoid(shared, operations.linear(sequence.normed, gate));
    operations.add(sequence.sum, shared);
  };
  return stage;
}

}  // namespace

std::vector<Stage> expert_stages(const LayerContext& context, const char* block) {
  std::vector<Stage> stages = {route_stage(context, block)};
  const int experts = static_cast<int>(context.own().experts->count);
  for (int first = 0; first < experts; first += context.experts_at_once) {
    const int last = std::min(experts, first + context.experts_at_once);
    stages.push_back(expert_range_stage(context, block, {.first = first, .last = last}));
  }
  if (context.own().experts->shared_width > 0)
    stages.push_back(shared_expert_stage(context, block));
  Stage end;
  end.ends_block = true;
  end.run = [](Operations& operations, Sequence& sequence) {
    operations.add(sequence.hidden, sequence.sum);
    sequence.normed = {};
    sequence.sum = {};
    sequence.routing = {};
  };
  stages.push_back(std::move(end));
  return stages;
}

}  // namespace ram
