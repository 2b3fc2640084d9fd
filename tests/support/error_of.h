// The error that an action ends with.
#pragma once

#include <gtest/gtest.h>

#include "ram/error.h"

namespace ram::testing {

/// The error that an action throws; if it throws none, the test fails.
template <typename Action>
Error error_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error was thrown";
  return Error(Code::kInternal, "");
}

}  // namespace ram::testing
