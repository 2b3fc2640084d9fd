// Fits a model into a number of bytes, is stopped by another thread in the middle, and resumes to
// the end; twice in one process.
//
//     fit MODEL OUT BYTES
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include <ram/cancellation.h>
#include <ram/error.h>
#include <ram/fit.h>
#include <ram/machine.h>

// Stops after `reports` progress reports; 0: never. Returns whether it finished.
bool fit_once(const std::string& model, const std::string& out, long long bytes, int reports) {
  const ram::Cancellation cancellation;
  const ram::CancelScope scope(cancellation);  // covers the work of this thread and its workers
  ram::FitEvents events;
  events.stage = [](std::string_view name) { std::printf("%s\n", std::string(name).c_str()); };
  events.note = [](const std::string& text) { std::printf("note: %s\n", text.c_str()); };
  events.progress = [&](const ram::Progress& at) {
    std::printf("  %s: %lld of %lld\n", std::string(at.phase).c_str(),
                static_cast<long long>(at.done), static_cast<long long>(at.total));
    if (--reports == 0) std::thread([cancellation] { cancellation.request(); }).join();
  };
  try {
    const ram::Checkpoint checkpoint = ram::Checkpoint::open(model);
    ram::Study study(out + ".db");
    ram::FitRequest request;
    request.plan.budget_bytes = bytes;
    request.plan.dtype = checkpoint.default_dtype();
    request.out = out;
    request.resources.threads = ram::default_threads();
    const ram::FitResult result = ram::fit(checkpoint, study, request, events);
    if (!result.planned.plan) {
      std::printf("%lld bytes would do\n", static_cast<long long>(result.planned.min_safe_bytes));
      return false;
    }
    std::printf("%lld bytes, %zu problems\n",
                static_cast<long long>(result.planned.plan->total_bytes),
                result.report.problems.size());
    return result.report.problems.empty();
  } catch (const ram::Error& error) {
    std::printf("%s\n", error.what());
    return false;
  }
}

int main(int argc, char** argv) {
  if (argc != 4) return std::puts("usage: fit MODEL OUT BYTES"), 2;
  const long long bytes = std::strtoll(argv[3], nullptr, 10);
  for (const char* name : {"-1", "-2"}) {
    if (fit_once(argv[1], argv[2] + std::string(name), bytes, 3)) return 1;  // was not stopped
    if (!fit_once(argv[1], argv[2] + std::string(name), bytes, 0)) return 1;
  }
}
