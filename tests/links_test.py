#!/usr/bin/env python3
"""Every link in the documents is valid: it leads to a file of the tree, and to an existing heading if it names one."""

import re
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.*)$", re.MULTILINE)
# Fenced and indented code blocks contain no links and no headings; code spans contain no links.
BLOCK = re.compile(r"^```.*?^```|^(?: {4}|\t).*?$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`[^`\n]*`")
# Maximum number of lines of documents that people read as a whole.
LINES_MOST = {"README.md": 90, "docs/performance.md": 100}


def documents(root):
    """The Markdown files of the tree, without built and ignored ones."""
    done = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard", "*.md"], capture_output=True,
                          text=True, check=False)  # fmt: skip
    if done.returncode == 0:
        return sorted(root / line for line in done.stdout.splitlines() if (root / line).exists())
    return sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")])


def anchor(heading):
    """The anchor that GitHub makes: lower case, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")


def problems(root):
    found = []
    for path in documents(root):
        text = SPAN.sub("", BLOCK.sub("", path.read_text(encoding="utf-8")))
        for target in LINK.findall(text):
            if re.match(r"[a-z]+:", target):
                continue  # another site
            name, _, part = target.partition("#")
            to = path.parent / name if name else path
            where = f"{path.relative_to(root)}: {target}"
            if not to.exists():
                found.append(f"{where}: there is no such file")
            elif not to.resolve().is_relative_to(root.resolve()):
                found.append(f"{where}: outside the tree")
            elif part and to.suffix == ".md":
                headings = HEADING.findall(BLOCK.sub("", to.read_text(encoding="utf-8")))
                if part not in map(anchor, headings):
                    found.append(f"{where}: there is no such heading")
    for name, most in LINES_MOST.items():
        path = root / name
        if path.exists() and len(path.read_text(encoding="utf-8").splitlines()) > most:
            found.append(f"{name}: more than {most} lines")
    return found


class Tree(unittest.TestCase):
    def test_links_lead_somewhere_and_documents_are_short(self):
        self.assertGreater(len(documents(ROOT)), 20)
        self.assertEqual(problems(ROOT), [])


class Planted(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.root = Path(self.temporary.name)
        (self.root / "docs").mkdir()
        self.write("README.md", "[a](docs/a.md) [b](docs/a.md#two-words-x) [site](https://example.org/x)\n")
        self.write("docs/a.md", "# One\n\n## Two `words`, x\n\n[up](../README.md), [here](#one)\n")

    def write(self, name, text):
        (self.root / name).write_text(text, encoding="utf-8")

    def says(self, words):
        found = problems(self.root)
        self.assertEqual(len(found), 1, found)
        self.assertIn(words, found[0])

    def test_a_sound_tree_has_none(self):
        self.assertEqual(problems(self.root), [])

    def test_a_missing_file_is_found(self):
        self.write("docs/b.md", "[a](c.md)\n")
        self.says("docs/b.md: c.md: there is no such file")

    def test_a_missing_heading_is_found(self):
        self.write("docs/b.md", "[a](a.md#three)\n")
        self.says("no such heading")

    def test_a_missing_picture_is_found(self):
        self.write("docs/b.md", "![plot](plot.svg)\n")
        self.says("no such file")

    def test_a_heading_in_code_is_no_heading(self):
        self.write("docs/b.md", "```\n# four\n```\n[a](#four)\n")
        self.says("no such heading")

    def test_links_in_code_are_no_links(self):
        self.write("docs/b.md", "`[a](c.md)`\n\n    [a](c.md)\n")
        self.assertEqual(problems(self.root), [])

    def test_a_path_out_of_the_tree_is_found(self):
        self.write("docs/b.md", "[a](../..)\n")
        self.says("outside the tree")

    def test_a_long_document_is_found(self):
        self.write("README.md", "x\n" * 91)
        self.says("README.md: more than 90 lines")


if __name__ == "__main__":
    unittest.main()
