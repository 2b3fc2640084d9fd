// Taking trees of JSON apart where there is no memory left.
#pragma once

#include <utility>

#include <nlohmann/json.hpp>

namespace ram {

/// Empties a tree without allocating. The library's own destructor moves all values into a vector
/// first, and where that finds no memory, the program ends.
/// @cost recursive: for trees of parse_json, whose depth is bounded.
void clear_json(nlohmann::json& tree) noexcept;

/// What was read from a file, which may be large: taken apart by clear_json.
class JsonTree {
 public:
  explicit JsonTree(nlohmann::json tree) noexcept : tree_(std::move(tree)) {}
  ~JsonTree() { clear_json(tree_); }
  JsonTree(JsonTree&&) noexcept = default;
  JsonTree& operator=(JsonTree&& other) noexcept {
    std::swap(tree_, other.tree_);  // what was here goes with the other
    return *this;
  }
  const nlohmann::json& operator*() const { return tree_; }
  const nlohmann::json* operator->() const { return &tree_; }

 private:
  nlohmann::json tree_;
};

}  // namespace ram
