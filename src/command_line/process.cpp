// The process of a program: signals and limits, then the command line.
#include <csignal>
#include <cstdio>
#include <ctime>
#include <exception>
#include <new>
#include <thread>

#include <sys/resource.h>
#include <unistd.h>

#include "ram/cancellation.h"
#include "ram/command_line.h"
#include "ram/error.h"
#include "ram/file.h"
#include "ram/machine.h"
#include "ram/thread.h"

namespace ram::cli {
namespace {

// Ctrl-C, SIGTERM and SIGHUP cancel all work of the command through this. Never destroyed: a signal
// may arrive while the program ends.
const Cancellation& stopped_by_signal = *new Cancellation;

volatile std::sig_atomic_t first_second = 0;
volatile std::sig_atomic_t first_signal = 0;

// The status that a shell reports for a program ended by a signal.
int status_of(int signal) {
  return 128 + signal;
}

int interrupted_status() {
  return status_of(first_signal == 0 ? SIGINT : first_signal);
}

// The first Ctrl-C asks long work to stop at a point where nothing is lost. A later one, from a
// user who does not want to wait, ends the program at once; that does not break anything either.
void on_interrupt(int signal) {
  constexpr std::sig_atomic_t kMask = 0x3fffffff;
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const auto second = static_cast<std::sig_atomic_t>((now.tv_sec & kMask) + 1);
  if (first_second == 0) {
    first_second = second;
    first_signal = signal;
    stopped_by_signal.request();
  } else if (second > first_second + 1) {
    _exit(status_of(signal));
  }
}

// Lets a thread of its own take the signals, and no other: where handlers ran on threads that
// compute, one process in thirty that was ended by SIGTERM died of a damaged heap in oneDNN's
// products, perhaps since its generated code uses the stack pointer for something else. If the
// system gives no thread, handlers run anywhere.
void take_signals_apart() {
  try {
    std::thread([] {
      while (true) pause();
    }).detach();
  } catch (const std::exception&) {
    return;
  }
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // threads started later inherit it
}

int run_or_say_why_not(const Program& program, int argc, char** argv) {
  try {
    Io io;
    io.interrupted = interrupted_status;
    const CancelScope scope(stopped_by_signal);
    return run(program, argc, argv, io);
  } catch (const std::bad_alloc&) {  // not even enough for a message
    std::fputs("ram: error: not enough memory (ulimit -v)\n", stderr);
    return static_cast<int>(Code::kUsage);
  }
}

// Runs on the main thread, or on a thread with a larger stack if the main stack is limited (ulimit
// -s) to less than parsers or libraries may need.
int run_with_room(const Program& program, int argc, char** argv) {
  constexpr rlim_t kStackBytes = rlim_t{1} << 20;
  rlimit limit = {};
  if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
      limit.rlim_cur >= kStackBytes) {
    return run_or_say_why_not(program, argc, argv);
  }
  try {
    int status = 0;
    std::thread([&] { status = run_or_say_why_not(program, argc, argv); }).join();
    return status;
  } catch (const std::exception&) {
    std::fputs(
        "ram: error: no thread can be started, and the stack is limited to less than 1 MiB: raise "
        "one of the limits (ulimit -s, -u, -v)\n",
        stderr);
    return static_cast<int>(Code::kUsage);
  }
}

}  // namespace

int run_process(const Program& program, int argc, char** argv) {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  // SIGHUP: the terminal was closed. If it is ignored (nohup), the work continues.
  struct sigaction before = {};
  if (sigaction(SIGHUP, nullptr, &before) != 0 || before.sa_handler != SIG_IGN) {
    sigaction(SIGHUP, &action, nullptr);
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ,
              SIG_IGN);  // a file at its size limit becomes a failed write, which has a message
  take_signals_apart();
  return_freed_blocks();
  raise_open_files_limit();
  fit_threads_to_limits();
  return run_with_room(program, argc, argv);
}

}  // namespace ram::cli
