// Undoes something when a scope is left, also by an exception. Part of the module `base`.
#pragma once

#include <utility>

namespace ram {

/// Calls `undo` at the end of the scope. @pre undo does not throw.
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
