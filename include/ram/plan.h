// From curves and a budget to a plan: one format per unit, the exact size of the finished folder,
// and a bound that proves how good the plan is.
//
// Hides priors, vetoes, menus and pins, the knapsack, and the sizes of headers and JSON files,
// which depend on the plan. plan.json is described in docs/formats/plan.md.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/curve.h"
#include "ram/mlx_layout.h"
#include "ram/quant.h"

namespace ram {

enum class Method : uint8_t {
  kSquared,  ///< prior x NRMSE^2, exact solver, full menu: the default
  /// The published method: prior x NRMSE of the simulated quantizer, greedy over all pairs,
  /// balanced menu, at least 4 bits.
  kPublished,
  kUniform,   ///< what mlx_lm.convert -q does with one format
  kMeasured,  ///< as kSquared, with coefficients measured on the model (calibrate.h) for priors
};

std::string_view method_name(Method method);  ///< "squared", "published", "uniform", "measured"

/// @return the method of that name; also of "ram", the name of kPublished in earlier versions.
std::optional<Method> parse_method(std::string_view name);

/// @return the current name of the method that a file of an earlier version names; any other name
///         is returned unchanged.
std::string current_method_name(std::string_view name);

std::string_view encoder_name(Encoder encoder);  ///< "mlx", "reference", "search", "feedback"
std::optional<Encoder> parse_encoder(std::string_view name);

/// @return the encoder whose curves a method plans with: kSimulated for kPublished, else kMlx.
Encoder planning_encoder(Method method);

/// A unit's format fixed by hand. `pattern` must match the whole unit name; `*` matches any
/// characters.
struct Pin {
  std::string pattern;
  UnitFormat format;
};

/// An encoder's relative squared error of a linear's outputs, divided by plain rounding's relative
/// squared error of its weights: a factor for the unit times one for the format.
struct EncoderGains {
  std::map<std::string, double> units = {};  ///< by name; 1 for others
  /// Per kAffineFormats; empty: all 1.
  std::vector<double> formats = {};

  double of(const std::string& unit, int format) const;
  bool operator==(const EncoderGains&) const = default;
};

/// How the coefficients of Method::kMeasured were measured.
enum class CoefficientSource : uint8_t {
  kNoise,     ///< each unit is disturbed, and the loss measured
  kGradient,  ///< from the gradients of all units at once
};
/// @return "noise" or "gradient", as on the command line.
const char* coefficient_source_name(CoefficientSource source);
/// @return nothing for any other name.
std::optional<CoefficientSource> parse_coefficient_source(std::string_view name);

constexpr double kLargestPrior = 1e30;  ///< of priors, coefficients and gains
constexpr double kLargestVeto = 1000;   ///< dB, of either sign

/// Weights of units in a loss without coefficients, 1 if nothing is said. They are not multiplied:
/// the first match of role, first layer, last layer counts.
struct Priors {
  std::map<Role, double> roles = {};
  std::optional<double> tied_embedding = {};  ///< also the head; else that of the role embedding
  std::optional<double> first_layer = {};
  std::optional<double> last_layer = {};
  bool operator==(const Priors&) const = default;
};

/// All values set. Those of the published method are its own; the others' are near the coefficients
/// of trained models (docs/decisions/0014-priors.md).
Priors usual_priors(Method method);

/// What to plan. Exactly one of budget_bytes, bits_per_weight, uniform is set.
struct PlanRequest {
  std::optional<int64_t> budget_bytes;  ///< of all files of the finished folder
  std::optional<double>
      bits_per_weight;  ///< 8 x bytes of all tensors / number of weights, as mlx_lm prints it
  std::optional<AffineFormat> uniform;

  Method method = Method::kSquared;
  DType dtype = DType::kBF16;
  std::vector<AffineFormat> menu;  ///< empty: the method's own
  int min_bits = 0;                ///< 0: the method's own (kPublished: 4)
  std::set<Role> keep = {Role::kRouter, Role::kNorm};
  Priors priors;              ///< those given; the method's usual ones elsewhere
  double veto_db = 9;         ///< formats below this SQNR are not used
  bool allow_unsafe = false;  ///< lifts the veto
  std::vector<Pin> pins;
  /// kMeasured: loss per squared relative error by unit name; 0 for units that are missing.
  std::map<std::string, double> coefficients = {};
  CoefficientSource coefficient_source = CoefficientSource::kNoise;
  /// kMeasured: gains of the encoder that writes the folder; factors of the loss.
  EncoderGains gains = {};
  /// The text that coefficients and encoder used (see parse_calibration); empty if the model was
  /// not run.
  std::string calibration = {};
  double probe_seconds = 0;         ///< kMeasured: time limit of measuring coefficients; 0: none
  Encoder encoder = Encoder::kMlx;  ///< that writes the folder
  double time_limit_s = 10;         ///< of the solver
};

/// @return all priors of a request: those given, else the usual ones of its method.
Priors priors_of(const PlanRequest& request);

/// The parsed PlanRequest::calibration: how the text was made, and how it was used.
struct CalibrationOrigin {
  std::string source;         ///< "own", "random" or "file"
  std::string sha256;         ///< of the file
  bool random_start = false;  ///< of own text
  int64_t rows = 0;           ///< 1 to 65536
  int64_t length = 0;         ///< tokens of a row, 2 to 8192
  uint64_t seed = 0;
  int64_t rule = 0;         ///< version of the rule by which text is generated
  bool sequential = false;  ///< layers were encoded for the outputs of the compressed ones before
  std::string digest;       ///< of the ids; empty: not known yet
  bool operator==(const CalibrationOrigin&) const = default;
};

/// @param text as "own rows 64 length 256 seed 42 rule 5 sequential digest 0123abcd".
/// @return nothing if it is not of this form, or a number is out of range.
std::optional<CalibrationOrigin> parse_calibration(std::string_view text);

/// @return the part that describes the text, as in CalibrationText::spec: without its use and its
///         digest.
std::string calibration_spec(const CalibrationOrigin& origin);

struct PlannedUnit {
  std::string name;
  UnitFormat format;
  int64_t bytes = 0;
  int64_t weights = 0;
  std::optional<double> prior;  ///< nothing: the unit is kept unquantized
  std::optional<double> gain;   ///< its factor in PlanRequest::gains; nothing: 1
  double nrmse = 0;             ///< of what is stored, even if the method planned with other errors
  bool operator==(const PlannedUnit&) const = default;
};

struct Plan {
  std::string model_name;
  std::string model_type;
  std::string fingerprint;
  Method method = Method::kSquared;
  Encoder encoder = Encoder::kMlx;  ///< that writes the folder
  DType dtype = DType::kBF16;
  std::vector<AffineFormat> menu;
  int64_t budget_bytes = 0;       ///< total_bytes for uniform plans
  int64_t total_bytes = 0;        ///< of the finished folder
  int64_t unit_budget_bytes = 0;  ///< the part of the budget for the units
  int64_t weight_bytes = 0;       ///< that the units take
  double bits_per_weight = 0;
  int64_t min_safe_bytes = 0;      ///< size of the smallest folder that the veto permits
  double objective = 0;            ///< the method's loss of this plan
  double lower_bound = 0;          ///< no plan within unit_budget_bytes has less
  PlanRequest request;             ///< so that the plan can be computed again
  std::vector<PlannedUnit> units;  ///< one per Checkpoint::units, in their order
  /// Of a finished folder: digest of each file by name (docs/formats/mlx-folder.md, "File
  /// digests"), including plan.json's own (plan_digest). Empty in a plan that is not built.
  std::map<std::string, std::string> file_hashes = {};
};

/// @return the request as command line options: "--budget 19000000000 --keep norm". Defaults and
/// the dtype are left out; a calibration file is called FILE.
std::string request_options(const PlanRequest& request);

/// Parse values of options, as typed and as written by request_options. Each throws Error{kUsage}
/// naming the option, what was found and what is allowed.
AffineFormat parse_format_option(const char* option, const std::string& text);  ///< "4:64"
std::vector<AffineFormat> parse_menu(const std::string& text);                  ///< "4:64,5:32"
std::set<Role> parse_keep(const std::string& text);               ///< "router,norm", or "none"
Pin parse_pin(const std::string& text);                           ///< "*.v_proj=6:64"
void parse_prior(const std::string& text, PlanRequest& request);  ///< "head=3"

/// @return whether both request the same folder of the same model. Digests of calibration texts are
///         compared only if both are known.
bool same_request(const PlanRequest& a, const PlanRequest& b);

/// A plan, or nothing if the budget is too small, which is an answer and not an error.
struct PlanResult {
  std::optional<Plan> plan;
  int64_t min_safe_bytes = 0;
  std::vector<std::string> notes;  ///< lifted vetoes, rows that no group size divides, solver gap
};

/// Everything that planning needs to know of one model; curves.units match checkpoint.units.
struct PlanInput {
  const Checkpoint& checkpoint;
  const ModelCurves& stored;     ///< Encoder::kMlx
  const ModelCurves* simulated;  ///< Encoder::kSimulated; needed for kPublished only
};

/// A unit's contribution to Plan::objective, from its format and error in the plan.
double unit_loss(const Plan& plan, const PlannedUnit& unit);

/// Solves the request. The finished folder's total_bytes <= budget; at most 64 KiB + 0.1 % of the
/// budget are reserved for JSON and may remain unused.
/// @throws Error{kUsage} a pin that matches nothing or cannot be stored, an empty menu, a number
///         that plan.json cannot represent.
PlanResult make_plan(const PlanInput& input, const PlanRequest& request);

/// @return the smallest safe folder under these settings. @throws as make_plan
int64_t min_safe_bytes(const PlanInput& input, PlanRequest request);

/// Whether coefficients that were measured on two halves of a text are better than the priors: a
/// coefficient that is noise is worse than none. The plan from one half must be better on the other
/// half than the plan from the priors, in the geometric mean of both directions.
/// @param prior the request with the priors' method. @param usual its plan.
/// @param even, odd as PlanRequest::coefficients.
/// @cost two plans.
bool halves_agree(const PlanInput& input, const PlanRequest& prior, const Plan& usual,
                  const std::map<std::string, double>& even,
                  const std::map<std::string, double>& odd);

/// The uniform format that a plan's loss is compared with.
struct UniformBeside {
  AffineFormat format;
  int64_t total_bytes = 0;  ///< of its finished folder
  double loss = 0;          ///< by the plan's method, with plain rounding as in mlx_lm.convert
};

/// @return the uniform format with the largest finished folder that is not larger than the plan's;
///         nothing if all are larger.
/// @cost a uniform plan or two.
std::optional<UniformBeside> uniform_beside(const PlanInput& input, const Plan& plan);

/// @return in words how near a plan is to the optimum at its size.
std::string optimality(const Plan& plan);

/// Whether no unit of a plan is quantized: the whole model fits the budget.
bool nothing_quantized(const Plan& plan);

/// A unit of water_filling: it loses coefficient x 2^(-2b) with b bits per weight.
struct LimitUnit {
  double coefficient = 0;  ///< at least 0
  double weights = 1;      ///< at least 1
};

/// @param bits of all weights together.
/// @return the least loss of codes whose errors are independent, if weights are Gaussian and bits
///         may be divided as one likes: reverse water-filling. @cost O(n log n)
/// @source T. Cover and J. Thomas, Elements of Information Theory, 2nd edition, section 10.3.3
double water_filling(std::span<const LimitUnit> units, double bits);

/// @return water_filling at the bits that a plan spends on units that may be quantized, in units of
///         Plan::objective (without gains of an encoder); nothing if the method's loss is not in
///         squared errors, or if nothing is quantized. Units left in 16 bits count with these, so
///         near the original's size it can exceed the loss. Error feedback can be below it where
///         inputs are far from white: its errors are not independent.
std::optional<double> loss_limit(const Plan& plan);

/// One point of the curve of loss against size.
struct SweepPoint {
  int64_t total_bytes = 0;
  double bits_per_weight = 0;
  double loss = 0;
  double lower_bound = 0;
  double loss_saved_per_mb = 0;  ///< relative to the previous point; 0 for the first
  std::optional<double> limit;   ///< loss_limit
};

struct Sweep {
  std::vector<SweepPoint> points;  ///< increasing size, decreasing loss
  int knee = 0;  ///< index of the point farthest below the chord from the first to the last
};

/// Plans at `count` >= 2 sizes, evenly spaced from the smallest safe one to the unquantized one
/// (sizes with the same plan give one point). The request's budget is ignored.
/// @source the knee: V. Satopaa et al., Finding a "Kneedle" in a Haystack, ICDCSW 2011 (without its
/// smoothing)
Sweep sweep_plans(const PlanInput& input, const PlanRequest& request, int count);

/// Parses plan.json. Of a plan edited by hand only each unit's name and format, the model's
/// fingerprint, the budget and the request are used; complete_plan computes the rest again.
/// @param file named in messages.
/// Accepts every plan that make_plan and complete_plan return.
/// @throws Error{kCorrupt} not JSON, not a plan, a number out of its range; {kUsage} an unknown
///         format; {kUnsupported} a later version.
Plan parse_plan(std::string_view json, const std::string& file);

/// @return plan.json's text: keys in the documented order, one line per unit.
std::string render_plan(const Plan& plan);

/// @return the plan.json that a path refers to: itself, or the one in a folder.
std::filesystem::path plan_file(const std::filesystem::path& path);

/// @throws Error{kMissing, kCorrupt, kUsage, kUnsupported} as parse_plan; a folder means the
///         plan.json in it.
Plan read_plan(const std::filesystem::path& path);

/// @return the text of a folder's plan.json, unparsed; nothing if there is none, if it cannot be
///         read, or if another program wrote it.
std::optional<std::string> plan_text(const std::filesystem::path& folder);

/// What to do with a plan whose folder exceeds its budget.
enum class OverBudget : uint8_t {
  kRefuse,
  kReturn,  ///< total_bytes > budget_bytes, for callers that explain it
};

/// Computes bytes, errors, objective and totals of a plan whose formats are given.
/// @param file named in messages.
/// @throws Error{kUsage} another model's fingerprint, unknown or missing unit, a format that a unit
///         cannot have, or an exceeded budget (with the difference, and the budget that would be
///         enough).
Plan complete_plan(const PlanInput& input, const Plan& edited, const std::string& file = "plan",
                   OverBudget over = OverBudget::kRefuse);

/// @return the smallest budget for this choice of formats: the size of its folder with that budget
///         written in it.
int64_t least_budget(const Checkpoint& checkpoint, const Plan& plan);

/// Gives a plan another budget, which replaces a target in bits per weight.
void set_budget(Plan& plan, int64_t bytes);

/// @return the digest of plan.json that it contains: of its text with zeros in place of that
///         digest.
std::string plan_digest(Plan plan);

/// @return the key of a build of the plan in the study: a digest of plan.json's text without the
///         files' digests, which are unknown before the files are written.
std::string build_key(Plan plan);

/// The layout of the finished folder, plan.json and README.md included: its total_bytes() is
/// plan.total_bytes. The files' digests in plan.json are still zeros, of their final length.
/// @param max_shard_bytes smaller in tests.
FolderLayout layout_plan(const Checkpoint& checkpoint, const Plan& plan,
                         int64_t max_shard_bytes = kMaxShardBytes);

/// Why a unit has its format.
struct UnitExplanation {
  struct Choice {
    UnitFormat format;
    int64_t bytes = 0;
    double nrmse = 0;
    double sqnr_db = 0;
    double loss = 0;
    bool vetoed = false;  ///< below the veto, or outside menu and min_bits
    bool chosen = false;
    double loss_per_mb = 0;  ///< saved per MB by a step from the chosen one (to fewer bytes: lost)
  };
  std::string name;
  Role role = Role::kOther;
  double prior = 0;
  bool kept = false;
  std::string reason;           ///< one sentence
  std::vector<Choice> choices;  ///< by bytes
};

/// @return the names of the units that a word refers to, in the model's order: the unit of that
///         name; else, if it contains `*` (any characters), those that it matches; else those whose
///         name contains it.
/// @throws Error{kUsage} no match (names the nearest).
std::vector<std::string> find_units(const Checkpoint& checkpoint, std::string_view word);

/// @throws Error{kUsage} no such unit (names the nearest).
UnitExplanation explain_unit(const PlanInput& input, const Plan& plan, std::string_view unit);

}  // namespace ram
