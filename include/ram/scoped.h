// What is undone when a scope is left, by an exception too. Part of the module `base`.
#pragma once

#include <utility>

namespace ram {

/// Calls `undo` when it goes out of scope. @pre undo does not throw.
template <typename Undo>
class AtScopeExit {
 public:
  explicit AtScopeExit(Undo undo) : undo_(std::move(undo)) {}
  ~AtScopeExit() { undo_(); }
  AtScopeExit(const AtScopeExit&) = delete;
  AtScopeExit& operator=(const AtScopeExit&) = delete;

 private:
  Undo undo_;
};

}  // namespace ram
