// Parsing of the planning options.
#include "planning.h"

#include <cmath>

#include <fmt/format.h>

#include "ram/error.h"

#include "commands.h"

namespace ram::cli {
namespace {

void parse_size_options(const PlanningArguments& arguments, bool needs_budget, Planning& planning) {
  const int given = (arguments.budget.empty() ? 0 : 1) + (arguments.bpw ? 1 : 0) +
                    (arguments.uniform.empty() ? 0 : 1);
  if (given != (needs_budget ? 1 : 0)) {
    fail(Code::kUsage, "{}: give the size with one of --budget 19GB, --bpw 4.5 or --uniform 4:64",
         given == 0 ? "no size given" : "more than one size given");
  }
  PlanRequest& request = planning.request;
  if (!arguments.budget.empty()) planning.budget = parse_size(arguments.budget);
  if (arguments.bpw) {
    if (!(*arguments.bpw > 0) || !(*arguments.bpw <= 32)) {
      fail(Code::kUsage, "--bpw {}: use bits per weight above 0 and at most 32", *arguments.bpw);
    }
    request.bits_per_weight = arguments.bpw;
  }
  if (!arguments.uniform.empty()) {
    request.uniform = parse_format_option("--uniform", arguments.uniform);
    request.method = Method::kUniform;
  }
}

void parse_method_option(const PlanningArguments& arguments, PlanRequest& request) {
  if (arguments.method.empty()) return;
  const auto method = parse_method(arguments.method);
  const bool uniform = method == Method::kUniform;
  if (!method || uniform != request.uniform.has_value()) {
    fail(Code::kUsage,
         "--method {}: use squared, measured or published; --uniform BITS:GROUP is a separate "
         "method",
         arguments.method);
  }
  request.method = *method;
}

}  // namespace

void add_planning_options(Arguments app, PlanningArguments& arguments, bool with_budget) {
  if (with_budget) {
    const char* group = "Size (one of)";
    app.add_option("--budget", arguments.budget,
                   "of all files together: 19GB, 17.5GiB, bytes, or 35% of the source's weights")
        .type_name("SIZE")
        .group(group);
    app.add_option("--bpw", arguments.bpw, "bits per weight, as mlx_lm prints them")
        .type_name("X")
        .group(group);
    app.add_option("--uniform", arguments.uniform, "what mlx_lm.convert -q does with this format")
        .type_name("BITS:GROUP")
        .words(format_names())
        .group(group);
  }
  const char* group = "Planning";
  const auto option = [&](const char* name, auto& value, const char* type, const char* help) {
    return app.add_option(name, value, help).type_name(type).group(group);
  };
  option("--method", arguments.method, "squared|measured|published",
         "loss to minimise (default squared)");
  option("--encoder", arguments.encoder, "mlx|search|feedback",
         "encoder that writes the weights (default mlx)");
  option("--menu", arguments.menu, "FORMATS", "formats to choose from, such as 4:64,5:32")
      .words(format_names(), /*list=*/true);
  option("--min-bits", arguments.min_bits, "BITS", "no format with fewer bits")
      .words({"2", "3", "4", "5", "6", "8"});
  std::vector<std::string> roles = role_names();
  roles.emplace_back("none");
  option("--keep", arguments.keep, "ROLES", "roles left unquantized (default router,norm; or none)")
      .words(std::move(roles), /*list=*/true);
  option("--pin", arguments.pins, "PATTERN=FORMAT",
         "fix units by name, such as '*.v_proj=6:64'; repeatable")
      .one_value_each();
  option("--prior", arguments.priors, "ROLE=X",
         "weight of a role, first_layer or last_layer; repeatable")
      .one_value_each();
  option("--veto", arguments.veto_db, "DB", "no format below this SQNR (default 9)");
  app.add_flag("--allow-unsafe", arguments.allow_unsafe, "lift the veto").group(group);
  option("--dtype", arguments.dtype, "bf16|f16|f32", "of scales, biases and unquantized tensors");
  option("--time-limit", arguments.time_limit_s, "SECONDS",
         "of the solver in total; each solve takes at most half of the rest (default 10)");
  app.add_flag("--rehash", arguments.rehash, "read every tensor again").group(group);
}

Planning parse_planning(const PlanningArguments& arguments, bool needs_budget) {
  Planning planning;
  PlanRequest& request = planning.request;
  parse_size_options(arguments, needs_budget, planning);
  parse_method_option(arguments, request);
  if (!arguments.encoder.empty()) request.encoder = parse_encoder_option(arguments.encoder);
  if (request.encoder == Encoder::kSimulated) {
    fail(Code::kUsage,
         "--encoder {}: for analysis only; plans are written with mlx, search or feedback",
         arguments.encoder);
  }
  if (!arguments.menu.empty()) request.menu = parse_menu(arguments.menu);
  if (arguments.min_bits < 0 || arguments.min_bits > 8) {
    fail(Code::kUsage, "--min-bits {}: use 2, 3, 4, 5, 6 or 8", arguments.min_bits);
  }
  request.min_bits = arguments.min_bits;
  request.keep = parse_keep(arguments.keep);
  for (const std::string& pin : arguments.pins) request.pins.push_back(parse_pin(pin));
  for (const std::string& prior : arguments.priors) parse_prior(prior, request);
  if (!(std::abs(arguments.veto_db) <= kLargestVeto)) {
    fail(Code::kUsage, "--veto {}: use a number of dB from {} to {}", arguments.veto_db,
         -kLargestVeto, kLargestVeto);
  }
  request.veto_db = arguments.veto_db;
  request.allow_unsafe = arguments.allow_unsafe;
  if (!(arguments.time_limit_s > 0) || !std::isfinite(arguments.time_limit_s)) {
    fail(Code::kUsage, "--time-limit {}: use seconds above 0", arguments.time_limit_s);
  }
  request.time_limit_s = arguments.time_limit_s;
  planning.dtype = parse_dtype_option(arguments.dtype);
  return planning;
}

PlanRequest resolve(const Planning& planning, const Checkpoint& checkpoint) {
  PlanRequest request = planning.request;
  if (planning.budget) request.budget_bytes = planning.budget->resolve(checkpoint.bytes());
  request.dtype = planning.dtype.value_or(checkpoint.default_dtype());
  return request;
}

std::optional<DType> parse_dtype_option(const std::string& text) {
  if (text.empty()) return {};
  const auto dtype = parse_weight_dtype(text);
  if (!dtype) fail(Code::kUsage, "--dtype {}: use bf16, f16 or f32", text);
  return dtype;
}

Encoder parse_encoder_option(const std::string& text) {
  const auto encoder = parse_encoder(text);
  if (!encoder) {
    fail(Code::kUsage, "--encoder {}: use mlx, search or feedback, or reference with ram analyze",
         text);
  }
  return *encoder;
}

int refuse_budget(const Common& common, const PlanRequest& request, int64_t min_safe_bytes) {
  std::string error =
      request.budget_bytes
          ? fmt::format("budget of {} bytes is too small", *request.budget_bytes)
          : fmt::format("{} bits per weight are too few", request.bits_per_weight.value_or(0));
  error += fmt::format(": the smallest safe size is {} bytes ({})", min_safe_bytes,
                       format_bytes(min_safe_bytes));
  if (common.json) {
    print_result(common, error_document(kBudgetTooSmall, error, min_safe_bytes));
  }
  say(common, fmt::format("ram: error: {}; use --budget {}{}\n", error, min_safe_bytes,
                          request.allow_unsafe ? "" : ", or --allow-unsafe for less"));
  return kBudgetTooSmall;
}

}  // namespace ram::cli
