// Destroys JSON trees when memory has run out.
#pragma once

#include <utility>

#include <nlohmann/json.hpp>

namespace ram {

/// Empties a tree without allocating. The library's destructor first moves all values into a
/// vector; if that finds no memory, the program ends.
/// @cost recursive: for trees of parse_json, whose depth is bounded.
void clear_json(nlohmann::json& tree) noexcept;

/// A tree that was read from a file and may be large: destroyed by clear_json.
class JsonTree {
 public:
  explicit JsonTree(nlohmann::json tree) noexcept : tree_(std::move(tree)) {}
  ~JsonTree() { clear_json(tree_); }
  JsonTree(JsonTree&&) noexcept = default;
  JsonTree& operator=(JsonTree&& other) noexcept {
    std::swap(tree_, other.tree_);  // the old tree is destroyed with `other`
    return *this;
  }
  const nlohmann::json& operator*() const { return tree_; }
  const nlohmann::json* operator->() const { return &tree_; }

 private:
  nlohmann::json tree_;
};

}  // namespace ram
