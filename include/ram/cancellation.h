// How long work is asked to stop.
#pragma once

namespace ram {

/// Asks all long work to stop; async-signal-safe.
void request_interrupt();

/// @throws Error{kInterrupted} once request_interrupt() has been called. Long loops call it per
/// block.
void check_interrupted();

}  // namespace ram
