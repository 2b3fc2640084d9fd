#!/usr/bin/env python3
"""The output that README.md shows is what the program prints, except for figures: text that a model writes, and what is
measured on it, depend on the processor's rounding."""

import pathlib
import re
import shlex
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
import harness  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
# An indented block that begins with a command at a prompt.
SHOWN = re.compile(r"^    \$ ram (.*)\n((?:    .*\n|\n(?=    |\n    ))+)", re.MULTILINE)


def words_of(text):
    """Words without a digit, line by line; of a row of the table only the role."""
    lines = []
    for line in text.splitlines():
        words = [word for word in line.split() if not re.search(r"\d", word)]
        lines.append(words[:1] if "  " in line and re.search(r"\d:\d|bf16", line) else words)
    return lines


class Readme(harness.ProgramTest):
    def test_every_command_prints_what_is_shown(self):
        shown = SHOWN.findall((ROOT / "README.md").read_text(encoding="utf-8"))
        self.assertTrue(shown)
        shutil.copytree(ROOT / "models/demo", self.folder / "models/demo")
        for command, block in shown:
            ran = self.ram(*shlex.split(command))
            self.assertEqual(ran.status, 0, ran)
            expected = "".join(line.removeprefix("    ") for line in block.splitlines(keepends=True))
            self.assertIn("took", expected)
            self.assertEqual(words_of(ran.out), words_of(expected), command)


if __name__ == "__main__":
    harness.main()
