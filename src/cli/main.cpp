// The program: signals, then the command line.
#include <csignal>
#include <ctime>

#include <unistd.h>

#include "ram/file.h"
#include "ram/thread.h"

#include "commands.h"

namespace {

volatile std::sig_atomic_t first_second = 0;

// The first Ctrl-C asks long work to stop where nothing is lost. One that comes later, from
// somebody who does not want to wait, ends the program at once; nothing breaks by that either.
void on_interrupt(int /*signal*/) {
  constexpr std::sig_atomic_t kMask = 0x3fffffff;
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const auto second = static_cast<std::sig_atomic_t>((now.tv_sec & kMask) + 1);
  if (first_second == 0) {
    first_second = second;
    ram::request_interrupt();
  } else if (second > first_second + 1) {
    _exit(130);
  }
}

}  // namespace

int main(int argc, char** argv) {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file at its limit is a failed write, which has a message
  ram::return_freed_blocks();
  ram::raise_open_files_limit();
  return ram::cli::run(argc, argv);
}
