// A model folder as one table: tensors, whatever their names and shards, become units with roles,
// named as mlx_lm names its modules. Modules above this one use units and roles only.
//
// Adding a family: a file in src/checkpoint/families/ (docs/architecture.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ram/dtype.h"
#include "ram/file.h"
#include "ram/model_config.h"
#include "ram/quant.h"
#include "ram/safetensors.h"

namespace ram {

enum class Role : uint8_t {
  kEmbedding,
  kAttention,
  kMlp,
  kExpert,
  kSharedExpert,
  kRouter,
  kNorm,
  kHead,
  kOther,
};
inline constexpr int kRoleCount = 9;

/// @return "embedding", "attention", "mlp", "expert", "shared_expert", "router", "norm", "head",
/// "other".
std::string_view role_name(Role role);
std::optional<Role> parse_role(std::string_view name);
std::vector<std::string> role_names();  ///< of all roles, in their order

/// A tensor of the source, as stored in its file.
struct SourceTensor {
  TensorInfo info;
  int file = 0;  ///< index into Checkpoint::files
};

/// Where a matrix lies among the elements of a part's tensors, counted from 0 in file order:
/// element (r, c) is number first + r * row_step + c * col_step. Whatever a family does to its
/// tensors (split, halve, take every other row, transpose), one view describes the result
/// (src/checkpoint/layout.h).
struct View {
  int64_t first = 0;
  int64_t row_step = 0;
  int64_t col_step = 1;
};

/// How files store a part's elements. A new format needs a value here and a case in
/// src/checkpoint/elements.cpp. All but kPlain are read as bf16 (Unit::dtype).
enum class StorageFormat : uint8_t {
  kPlain,  ///< in Unit::dtype
  /// F8_E4M3 [rows, cols]; `scales`: F32 or BF16 [ceil(rows / 128), ceil(cols / 128)], a factor for
  /// every block of 128 x 128. The product is computed in float32 and rounded to bf16.
  kFp8Blocks,
  /// U8 [..., cols / 32, 16], two E2M1 codes per byte, the even element in the low half; `scales`:
  /// U8 [..., cols / 32], E8M0. Exact in bf16.
  kMxfp4,
};

/// One matrix of a unit: a whole tensor, or a slice of a packed one (one expert).
struct Part {
  int tensor = 0;  ///< index into Checkpoint::tensors; of the codes if the unit is stored quantized
  View view = {};
  int scales = -1;  ///< index into Checkpoint::tensors: scales of `storage` or Unit::stored
  int biases = -1;  ///< the same: the groups' biases
  StorageFormat storage = StorageFormat::kPlain;
  /// Indices into Checkpoint::tensors of tensors whose elements follow those of `tensor`: the view
  /// covers all of them, stacked by rows. @pre kPlain.
  std::vector<int> below = {};
};

/// @return the view of rows [first_row, ...) of a tensor seen as [elements / cols, cols].
constexpr View rows_view(int64_t first_row, int64_t cols) {
  return {.first = first_row * cols, .row_step = cols, .col_step = 1};
}

/// @return true if a part of `cols` columns is a range of rows of one tensor in a weight dtype, or
///         of codes: the file then contains the very bytes that read_rows returns.
bool is_rows(const Part& part, int64_t cols);

/// @return indices into Checkpoint::tensors: the tensors besides Part::tensor that the values of a
///         part depend on. Empty for a unit that is stored in MLX's format.
std::vector<int> other_tensors(const Part& part);

/// A tensor that is copied along with a unit, unquantized: a linear's bias.
struct Carried {
  int tensor = 0;
  std::string name;  ///< in the output: "model.layers.0.self_attn.q_proj.bias"
};

/// Tensors that must share one number format: one matrix, or all experts of a layer's projection.
struct Unit {
  std::string name;    ///< module path as mlx_lm names it
  std::string tensor;  ///< the weight's name in the output: name + ".weight"
  Role role = Role::kOther;
  int layer = -1;  ///< -1 outside the layers
  std::vector<Part> parts;
  int64_t rows = 0;  ///< of each part; 1 for a vector
  int64_t cols = 0;
  std::vector<int64_t> shape;  ///< unquantized: [rows, cols], [parts, rows, cols] or [cols]
  /// Of the source; of scales and biases if it is stored in MLX's format; bf16 for other storage.
  DType dtype = DType::kBF16;
  /// The format in which it is stored; nothing: unquantized, as in every source of a plan.
  std::optional<AffineFormat> stored;
  /// mlx_lm can load this module quantized (a Linear, an Embedding or a stacked expert linear).
  bool quantizable = false;
  /// The format that mlx_lm.convert -q gives it by the family's own rule; nothing: the common
  /// format.
  std::optional<AffineFormat> uniform_rule;
  std::vector<Carried> carried;

  int64_t part_weights() const { return rows * cols; }
  int64_t weights() const { return part_weights() * static_cast<int64_t>(parts.size()); }
};

/// A file of the source that is copied into the output unchanged (tokenizer, chat template,
/// licence).
struct CarriedFile {
  std::string name;  ///< relative to the folder; may be in a subfolder: "folder/file"
  int64_t bytes = 0;
};

/// What kind of file another file than config.json and the weights is, by its name alone.
enum class SideFile : uint8_t {
  kCarried,  ///< is copied into the output unchanged
  kClutter,  ///< left over by file systems, editors and transfers; ignored everywhere
  kOther,
};

/// The table is in src/checkpoint/side_files.cpp.
/// @param name relative to the folder, '/' between its parts.
SideFile side_file(std::string_view name);

/// Fields of the front matter of the source's README.md: text without control characters, at most
/// 300 bytes each; empty if missing.
struct ModelCard {
  std::string licence;       ///< "license": an identifier of the hub, "other" among them
  std::string licence_name;  ///< "license_name", which belongs to "other"
  std::string licence_link;  ///< "license_link"
  std::vector<std::string> languages;
  std::vector<std::string> tags;
};

/// Whether a folder may contain quantized weights.
enum class Quantized : uint8_t {
  kRefuse,  ///< no: it will be quantized
  kAccept,  ///< in MLX's affine format: a finished folder of ram, mlx_lm or another program
};

class JsonTree;
struct Family;  // src/checkpoint/family.h

class Checkpoint {
 public:
  /// Opens a folder, or a repository id found in the local Hugging Face cache (HF_HUB_CACHE,
  /// HF_HOME, then the default place; refs/main, else the newest snapshot). Reads config.json and
  /// all headers; of the weights only those that are stored twice and must agree: a tied head that
  /// is stored nevertheless, a tensor in two files.
  ///
  /// @throws Error{kMissing} no such folder or id (names the command that would fetch it), no
  ///         config.json, a shard or a tensor that the config calls for is missing; {kCorrupt} bad
  ///         JSON, header, shapes or absurd numbers; {kUnsupported} unknown model_type, a source
  ///         that is already quantized (with kAccept: in another format than MLX's affine one), a
  ///         tensor that the family does not have, a dtype that is not a weight dtype, or a setting
  ///         that mlx_lm would not follow (docs/formats/checkpoint.md).
  static Checkpoint open(const std::string& folder_or_id, Quantized quantized = Quantized::kRefuse);

  /// For display: the repository's id (also if a snapshot of the cache is given as a folder), or
  /// the folder's last component, made printable().
  std::string name;
  std::filesystem::path folder;    ///< its path; symbolic links of the cache are not resolved
  std::string model_type;          ///< as config.json says
  const Family* family = nullptr;  ///< of that model_type; null: made by hand
  std::string config_json;         ///< config.json's text
  /// The same in both spellings and with defaults written out, for a finished folder's config.json.
  std::shared_ptr<const JsonTree> spelled_config;
  ModelConfig config;  ///< what the forward pass needs of config.json
  int layers = 0;
  bool tied_embeddings = false;
  std::optional<DType> torch_dtype;   ///< of config.json (or dtype), if it is a weight dtype
  std::vector<InputFile> files;       ///< the shards, sorted by name
  std::vector<SourceTensor> tensors;  ///< every tensor of every shard, sorted by name
  std::vector<Unit> units;            ///< in the order of the model: embedding, layers, norm, head
  int embedding = -1;                 ///< indices of units: the input embedding,
  int final_norm = -1;                ///< the norm behind the last layer,
  int head = -1;                      ///< and the output head: the embedding if they are tied
  std::vector<int> dropped;  ///< indices of tensors that mlx_lm does not load (tied head, ...)
  std::vector<CarriedFile> carried_files;  ///< sorted by name; neither README.md nor config.json
  ModelCard card;
  /// What a user should know about this folder: files that disagree and which of them counts, what
  /// is ignored, what a finished folder will lack. One line each.
  std::vector<std::string> notes;
  /// Other files that were read or are carried (config.json, the tokenizer, ...): path, and
  /// identity when the model was opened. Without README.md and the index, which are read only then.
  std::vector<std::pair<std::filesystem::path, FileIdentity>> other_files;

  /// Checks that no file that was read or is carried has changed since the model was opened: to be
  /// called when everything is read, before a result is published or kept.
  /// @throws Error{kCorrupt} a file changed meanwhile, or is gone.
  void check_unchanged() const;
  /// The same for the shards alone.
  void check_weights_unchanged() const;

  /// @return the dtype of scales, biases and unquantized tensors unless --dtype says otherwise:
  ///         torch_dtype if that is f16 or bf16, else bf16.
  DType default_dtype() const;
  /// @return whether some weights are quantized: ram, mlx_lm or the like made the folder.
  bool is_quantized() const;
  /// @return whether a finished folder will have a tokenizer, without which mlx_lm cannot run it.
  bool has_tokenizer() const;
  int64_t weights() const;  ///< elements of all units' tensors, carried ones included
  int64_t bytes() const;    ///< of the same tensors, as stored in the source
  int64_t stored_bytes(const Unit& unit) const;  ///< one unit's share of bytes()

  /// Reads rows [row, row + count) of one part, in unit.dtype, row-major, however it is stored.
  /// @param out room for count * unit.cols elements.
  /// @pre   unit.stored is nothing.
  /// @throws Error{kCorrupt} the file ends before (it changed since it was opened).
  void read_rows(const Unit& unit, int part, int64_t row, int64_t count, std::byte* out) const;

  /// Reads rows [row, row + count) of one part of a unit that is stored quantized, in the layout
  /// that affine_decode takes.
  /// @param codes  room for [count, cols * bits / 32].
  /// @param scales, biases  room for [count, cols / group_size] of unit.dtype each.
  /// @pre   unit.stored.
  /// @throws Error{kCorrupt} the file ends before (it changed since it was opened).
  void read_encoded_rows(const Unit& unit, int part, int64_t row, int64_t count, uint32_t* codes,
                         std::byte* scales, std::byte* biases) const;

  /// Tells the system that these rows will be read soon, however they are stored. Never fails.
  void prefetch_rows(const Unit& unit, int part, int64_t row, int64_t count) const;

  /// Reads bytes of a source tensor as stored in its file. offset counts from the tensor's start.
  void read_tensor(int tensor, int64_t offset, std::span<std::byte> out) const;
};

/// @return the folder of a model, as Checkpoint::open finds it; its contents are not checked.
/// @throws Error{kMissing} neither a folder nor an id in the local cache.
std::filesystem::path find_model(const std::string& folder_or_id);

/// @return the ids of the models in the local Hugging Face cache, sorted: what find_model takes.
std::vector<std::string> cached_models();

/// config.json for the output, spelled so that mlx_lm and transformers (4 and 5) read the same
/// model: the union of the hub's spelling and of transformers 5's, with `quantization` and
/// `quantization_config`.
///
/// @param formats per unit of the checkpoint; nothing: unquantized.
/// @param dtype   written as torch_dtype and dtype.
/// @return JSON text, keys sorted, indented by 4; ends with a newline. A function of the arguments
/// alone.
std::string render_config(const Checkpoint& checkpoint,
                          std::span<const std::optional<AffineFormat>> formats, DType dtype);

}  // namespace ram
