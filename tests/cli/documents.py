#!/usr/bin/env python3
"""docs/cli.md, --help, completion and the manual page name the same commands and options."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/cli.md"
OPTION = re.compile(r"--[a-z][a-z-]*")
# Options of other programs in the document: `cmake --install`.
FOREIGN = {"--install"}


def commands():
    text = harness.ram("--help").out
    return re.findall(r"^  ([a-z]+) {2,}", text.split("Subcommands:")[1], re.MULTILINE)


def options(command):
    """The options in the first column of a command's help."""
    lines = harness.ram(command, "--help").out.splitlines()
    return {o for line in lines if line.startswith("  -") for o in OPTION.findall(line[:36])}


class Documents(harness.ProgramTest):
    def setUp(self):
        super().setUp()
        self.text = DOCUMENT.read_text()

    def test_every_command_is_in_the_first_list(self):
        listed = re.findall(r"^    ram ([a-z]+)", self.text.split("\n## ")[0], re.MULTILINE)
        self.assertEqual(sorted(listed), sorted(commands()))

    def test_every_option_of_help_is_documented_and_no_other(self):
        known = set()
        for command in commands():
            known |= options(command)
        self.assertIn("--budget", known)
        known -= {"--help", "--version"}
        documented = set(OPTION.findall(self.text)) - FOREIGN - {"--help", "--version"}
        self.assertEqual(known - documented, set(), "missing in docs/cli.md")
        self.assertEqual(documented - known, set(), "no command has it")

    def test_the_tables_say_which_command_takes_which_option(self):
        section = self.text.split("## Which command takes which options\n")[1].split("\n## ")[0]
        groups, told = {}, {}
        for line in section.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) == 2 and OPTION.search(line):
                groups[cells[0]] = set(OPTION.findall(cells[1]))
            elif len(cells) == 3 and cells[0].startswith("`"):
                own = set(OPTION.findall(cells[1])) | groups["common"]
                told[cells[0].strip("`")] = own.union(*(groups[name] for name in re.findall(r"[a-z]+", cells[2])))
        self.assertEqual(list(groups), ["target", "planning", "calibration", "scoring", "common"])
        self.assertEqual(sorted(told), sorted(commands()))
        for command, named in told.items():
            self.assertEqual(named, options(command), command)

    def test_the_manual_page_has_them_all(self):
        page = self.ram("completion", "man").out.replace("\\-", "-")
        for command in commands():
            section = page.split(f".SS {command}\n")[1].split(".SS ")[0].split("\n.SH ")[0]
            for option in options(command):
                self.assertIn(option, section + page.split(".SH OPTIONS")[1], command)
        if shutil.which("man"):
            (self.folder / "ram.1").write_text(self.ram("completion", "man").out)
            done = subprocess.run(["man", "--warnings", "-l", "ram.1"], cwd=self.folder, check=False,
                                  capture_output=True, env=os.environ | {"MANPAGER": "cat", "LC_ALL": "C.UTF-8"})
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            self.assertIn(b"--budget", done.stdout)


class Completion(harness.ProgramTest):
    """What bash offers, as bash itself reports it; other shells if they are installed."""

    def setUp(self):
        super().setUp()
        self.env = harness.environment(HF_HUB_CACHE=str(self.folder / "hub"))
        for name in ("models--Org--Model-7B", "models--Org--Other"):
            snapshot = self.folder / "hub" / name / "snapshots" / ("a" * 40)
            snapshot.mkdir(parents=True)
            (snapshot / "config.json").write_text("{}")
        (self.folder / "hub" / "models--Org--Empty").mkdir()
        (self.folder / "file.txt").write_text("x")
        (self.folder / "folder").mkdir()
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        os.symlink(harness.PROGRAM, bin_folder / "ram")
        self.env["PATH"] = f"{bin_folder}:{os.environ['PATH']}"

    def offered(self, line):
        script = self.ram("completion", "bash").out + (
            "COMP_LINE=$1 COMP_POINT=${#1}\nread -ra COMP_WORDS <<<\"$1\"\n"
            "COMP_CWORD=$((${#COMP_WORDS[@]}-1))\n_ram\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n")
        done = subprocess.run(["bash", "--norc", "-c", script, "bash", line], cwd=self.folder,
                              env=self.env, capture_output=True, text=True, check=False)
        self.assertEqual(done.stderr, "", line)
        return set(filter(None, done.stdout.split("\n")))

    def test_ids_of_the_cache(self):
        ran = self.ram("completion", "models", env=self.env)
        self.assertEqual(ran.out, "Org/Model-7B\nOrg/Other\n")
        self.assertEqual(self.ram("completion", "models", "--json", env=self.env).json["models"],
                         ["Org/Model-7B", "Org/Other"])

    def test_bash_offers_what_is_meant(self):
        self.assertLessEqual({"fit", "studies", "--help"}, self.offered("ram "))
        self.assertEqual(self.offered("ram fi"), {"fit"})
        self.assertEqual(self.offered("ram fit Org/M"), {"Org/Model-7B"})
        self.assertEqual(self.offered("ram fit "), {"Org/Model-7B", "Org/Other", "folder", "hub", "bin"})
        self.assertEqual(self.offered("ram verify f"), {"folder"})
        self.assertEqual(self.offered("ram fit x --method "), {"squared", "measured", "published"})
        self.assertEqual(self.offered("ram fit x --encoder s"), {"search"})
        self.assertEqual(self.offered("ram fit x --method=s"), {"squared"})
        self.assertLessEqual({"router", "head", "none"}, self.offered("ram fit x --keep "))
        self.assertEqual(self.offered("ram fit x --keep router,no"), {"router,norm", "router,none"})
        self.assertLessEqual({"4:64", "8:128"}, self.offered("ram fit x --uniform "))
        self.assertEqual(self.offered("ram fit x --uniform 4:"), {"32", "64", "128"})
        self.assertEqual(self.offered("ram analyze x --csv f"), {"file.txt", "folder"})
        self.assertEqual(self.offered("ram fit x --calibration o"), {"own"})
        self.assertEqual(self.offered("ram fit x --calibration f"), {"file.txt", "folder"})
        self.assertEqual(self.offered("ram fit x --threads f"), set())
        self.assertEqual(self.offered("ram generate x --prompt f"), set())
        self.assertEqual(self.offered("ram --json studies "), {"rm"})
        self.assertEqual(self.offered("ram completion "), {"bash", "zsh", "fish", "man", "models"})
        self.assertIn("--budget", self.offered("ram fit x --b"))

    def test_bash_takes_names_as_they_are(self):
        for name in ("my model", "my other model", "a*b", "axb", "[x]", 'say "hi"', "it's"):
            (self.folder / name).mkdir()
        (self.folder / "folder" / "q r.txt").write_text("x")
        (self.folder / "f[1].txt").write_text("x")
        both = {"my model", "my other model"}
        self.assertEqual(self.offered("ram fit my"), both)
        for line in (r"ram fit my\ ", 'ram fit "my ', "ram fit 'my "):
            self.assertEqual(self.offered(line), both, line)
        self.assertEqual(self.offered(r"ram fit my\ m"), {"my model"})
        self.assertEqual(self.offered("ram fit a"), {"a*b", "axb"})
        self.assertEqual(self.offered(r"ram fit a\*"), {"a*b"})
        self.assertEqual(self.offered("ram fit ["), {"[x]"})
        self.assertEqual(self.offered(r'ram fit "say \"'), {'say "hi"'})
        self.assertEqual(self.offered(r"ram fit it\'"), {"it's"})
        self.assertEqual(self.offered("ram analyze x --csv f"), {"file.txt", "folder", "f[1].txt"})
        self.assertEqual(self.offered(r"ram analyze x --csv=folder/q\ "), {"folder/q r.txt"})
        # An earlier word that contains a space is one word.
        self.assertEqual(self.offered("ram fit 'my model' --method=s"), {"squared"})

    def test_bash_runs_nothing_that_a_name_says(self):
        name = "models--Org--$(>run)"
        snapshot = self.folder / "hub" / name / "snapshots" / ("a" * 40)
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")
        self.offered("ram fit Org/")
        self.assertFalse((self.folder / "run").exists())

    def test_fish_and_zsh_accept_their_scripts(self):
        for shell, check in (("fish", ["--no-execute"]), ("zsh", ["-n"])):
            if shutil.which(shell) is None:
                continue
            file = self.folder / f"ram.{shell}"
            file.write_text(self.ram("completion", shell).out)
            done = subprocess.run([shell, *check, file], capture_output=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, b""), shell)
        if shutil.which("fish"):
            asked = "source ram.fish; complete -C 'ram fit x --keep router,no'"
            done = subprocess.run(["fish", "-c", asked], cwd=self.folder, env=self.env, check=False,
                                  capture_output=True, text=True)
            self.assertEqual({line.split()[0] for line in done.stdout.splitlines()},
                             {"router,norm", "router,none"})


if __name__ == "__main__":
    harness.main()
