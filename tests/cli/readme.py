#!/usr/bin/env python3
"""The output that README.md shows is what the program prints, except for what depends on the processor's rounding: the
figures and formats that follow from a text that the model writes."""

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


# Lines whose figures depend on it, by their first words; of rows of the table only role, units and weights count.
MEASURED = ("finished folder", "asked for", "bits per weight", "predicted KL", "coefficients", "feedback", "measured KL",
            "took")
ROLES = ("embedding", "attention", "expert", "router", "norm", "head", "all")


def comparable(text):
    lines = []
    for line in text.splitlines():
        words = line.split()
        if line.startswith(MEASURED):
            line = " ".join(word for word in words if not re.search(r"\d", word))
        elif words and words[0] in ROLES:
            line = " ".join(words[:3])
        lines.append(line)
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
            self.assertEqual(comparable(ran.out), comparable(expected), command)


if __name__ == "__main__":
    harness.main()
