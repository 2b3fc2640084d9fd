// The table of subcommands, and the manual's text about the program.
#include "commands.h"

#include <array>

namespace ram::cli {
namespace {

constexpr std::array kCommands = {
    Command{"fit", "analyze, plan, quantize and verify in one go; the main job",
            "ram fit Qwen/Qwen3-30B-A3B --budget 19GB -o Qwen3-30B-19GB", setup_fit},
    Command{"inspect", "family, units, sizes, what is kept, smallest safe size",
            "ram inspect Qwen/Qwen3-8B", setup_inspect},
    Command{"analyze", "rate-distortion curve of every unit into the study",
            "ram analyze Qwen/Qwen3-8B --csv curves.csv", setup_analyze},
    Command{"plan", "one format per unit for a budget, as a file to read and edit",
            "ram plan Qwen/Qwen3-8B --budget 5.5GB -o plan.json", setup_plan},
    Command{"sweep", "predicted loss against size, from the smallest safe size up",
            "ram sweep Qwen/Qwen3-8B --points 16", setup_sweep},
    Command{"explain", "why these bits; what the next megabyte would buy",
            "ram explain plan.json model.layers.0.mlp.down_proj", setup_explain},
    Command{"quantize", "write the MLX folder of a plan",
            "ram quantize Qwen/Qwen3-8B --plan plan.json -o Qwen3-8B-5.5GB", setup_quantize},
    Command{"verify", "is the folder complete, and as its plan says?",
            "ram verify Qwen3-8B-5.5GB --source Qwen/Qwen3-8B", setup_verify},
    Command{"logits", "the logits of given token ids, as a file",
            "ram logits Qwen/Qwen3-8B --ids ids.json -o logits.safetensors", setup_logits},
    Command{"tokenize", "text on stdin to ids on stdout, and back",
            "echo Hello | ram tokenize Qwen/Qwen3-8B", setup_tokenize},
    Command{"generate", "text from a model, to see what a compressed one writes",
            "ram generate Qwen3-8B-5.5GB --prompt 'Once upon a time' --max-tokens 100",
            setup_generate},
    Command{"perplexity", "loss and perplexity of a model on a text",
            "ram perplexity Qwen/Qwen3-8B --text wiki.test.raw --rows 128", setup_perplexity},
    Command{"compare", "models against their original: losses, divergence, and what is chance",
            "ram compare Qwen/Qwen3-8B Qwen3-8B-5.5GB --text wiki.test.raw", setup_compare},
    Command{"tasks", "multiple-choice questions: accuracy, and what they can distinguish",
            "ram tasks Qwen/Qwen3-8B Qwen3-8B-5.5GB --task mmlu --data eval", setup_tasks},
    Command{"noise", "noise as large as a plan's errors: does their shape matter, or their size?",
            "ram noise Qwen/Qwen3-8B Qwen3-8B-5.5GB --text wiki.test.raw", setup_noise},
    Command{"gptq",
            "what calibration gains, and what the plan gains: matched on bytes and on formats",
            "ram gptq Qwen/Qwen3-8B --text wiki.test.raw", setup_gptq},
    Command{"report", "the study on one page: quality against size, plans, rows, questions",
            "ram report -o report.html", setup_report},
    Command{"studies", "what the study keeps, for which models; rm frees the space",
            "ram studies rm Qwen/Qwen3-8B", setup_studies},
    Command{"demo", "the whole chain on the bundled model, at three budgets", "ram demo",
            setup_demo},
    Command{"completion", "completion script for bash, zsh or fish; the manual page",
            "ram completion bash > ~/.local/share/bash-completion/completions/ram",
            setup_completion},
};

constexpr Meaning<int> kStatuses[] = {
    {0, "done; also: the requested output already exists"},
    {1, "the requested check failed"},
    {2, "the command line is wrong, or asks for something impossible"},
    {3, "an input is missing or unreadable"},
    {4, "an input is corrupt"},
    {5, "unsupported"},
    {6, "the budget cannot be met"},
    {7, "the disk is full, or a write failed"},
    {70, "a defect in ram"},
    {130, "interrupted; finished work is kept"},
    {143, "the same, by SIGTERM"},
    {129, "the same, by SIGHUP (the terminal was closed)"},
};

constexpr Meaning<const char*> kEnvironment[] = {
    {"RAM_STUDY", "the study, if --study does not name one"},
    {"XDG_DATA_HOME",
     "where the study is, in ram/ram.db, without either (Linux; default "
     "~/.local/share)"},
    {"HF_HUB_CACHE, HF_HOME", "the local Hugging Face cache, in which ids of models are looked up"},
    {"RAM_DEMO_MODEL", "the model of ram demo"},
    {"HOME", "the user's folder"},
};

constexpr Program kProgram = {
    .summary = "fits open-weight language models into a byte budget, in the MLX format",
    .example = "ram fit Qwen/Qwen3-30B-A3B --budget 19GB -o Qwen3-30B-19GB",
    .commands = kCommands,
    .statuses = kStatuses,
    .environment = kEnvironment,
};

}  // namespace

const Program& program() {
  return kProgram;
}

}  // namespace ram::cli
