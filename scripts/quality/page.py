"""docs/results.md, docs/results/folders.md and the plot, from the CSV files and the text of docs/results/page.md.in.

In the text, {{NAME ARGUMENTS}} is replaced by the result of the function NAME of `Page`.
"""

import math
import re

from quality import plot
from quality.store import ROOT, Results

NOTICE = "<!-- Written by `scripts/results page` from docs/results/. Edit page.md.in or the CSV files there. -->\n\n"
DIRECTIVE = re.compile(r"\{\{(\w+)((?: [\w-]+)*)\}\}")


def markdown_table(head, rows):
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def ratio_cell(row, bold=False):
    ratio = f"{float(row['ratio']):.2f}"
    if bold:
        ratio = f"**{ratio}**"
    if not row["low"]:
        return ratio
    return f"{ratio} ({float(row['low']):.2f} to {float(row['high']):.2f})"


def size(row):
    return row["bits_asked"] or f"{float(row['bits_per_weight']):.3f}"


def geometric_mean(values):
    values = list(values)
    return math.exp(sum(math.log(value) for value in values) / len(values))


class Page:
    def __init__(self, results):
        self.results = results

    def groups(self, experiment):
        """The ratios of an experiment, grouped by the folder that they are compared with: [{method: row}]."""
        groups = {}
        for row in self.results.rows("ratios", experiment["experiment"]):
            groups.setdefault((row["against"], row["bits_asked"], row["bits_per_weight"]), {})[row["method"]] = row
        return list(groups.values())

    def ratios(self, table):
        """One row for each model and size: KL of the other, and of each method over it; the least is bold."""
        experiments = self.results.of(table)
        groups = [(experiment, group) for experiment in experiments for group in self.groups(experiment)]
        methods = list(dict.fromkeys(method for _, group in groups for method in group))
        others = {row["against"] for _, group in groups for row in group.values()}
        head = ["model", "bits per weight", "KL, published", *methods]
        if others != {"published"}:
            head[1:3] = ["at the bytes of", "bits per weight", "its KL"]
        limited = any(row["limit"] for _, group in groups for row in group.values())
        if limited:
            head.append("limit")
        lines = []
        for experiment, group in groups:
            first = next(iter(group.values()))
            least = min(float(row["ratio"]) for row in group.values())
            cells = [experiment["model"], size(first), f"{float(first['against_kl']):.5f}"]
            if others != {"published"}:
                cells.insert(1, first["against"].replace("ram ", "published, size "))
            for method in methods:
                row = group.get(method)
                bold = row is not None and len(group) > 1 and float(row["ratio"]) == least
                cells.append(ratio_cell(row, bold) if row else "")
            if limited:
                limit = group.get("default", first)["limit"]
                cells.append(f"{float(limit) / float(first['against_kl']):.2f}" if limit else "")
            lines.append(cells)
        return markdown_table(head, lines)

    def methods(self, table):
        """A table of one experiment, with methods as rows."""
        (experiment,) = self.results.of(table)
        rows = self.results.rows("ratios", experiment["experiment"])
        return markdown_table(
            ["method", "KL", f"over that of {rows[0]['against']}"],
            [[row["method"], row["kl"], ratio_cell(row)] for row in rows],
        )

    def conditions(self, table):
        """Text, rows and command of each experiment."""
        lines = []
        for row in self.results.of(table):
            floor = f" Noise floor: KL {float(row['noise_floor_kl']):.3g}." if row["noise_floor_kl"] else ""
            note = f" Note: {row['note']}." if row["note"] else ""
            lines.append(
                f"- {row['model']}: {row['rows']} rows of {row['length']} tokens; {row['text']}.{floor}{note}\n"
                f"  `{row['command']}`"
            )
        return "\n".join(lines)

    def ratio_values(self, table, method):
        """The ratios of a method at all sizes, by model."""
        values = {}
        for experiment in self.results.of(table):
            for row in self.results.rows("ratios", experiment["experiment"]):
                if row["method"] == method:
                    values.setdefault(experiment["model"], []).append(row)
        return values

    def mean(self, table, method):
        """The geometric mean of the ratios, each model counting once."""
        models = self.ratio_values(table, method).values()
        return f"{geometric_mean(geometric_mean(float(row['ratio']) for row in rows) for rows in models):.2f}"

    def all_rows(self, table, method):
        return [row for rows in self.ratio_values(table, method).values() for row in rows]

    def least(self, table, method):
        return f"{min(float(row['ratio']) for row in self.all_rows(table, method)):.2f}"

    def most(self, table, method):
        return f"{max(float(row['ratio']) for row in self.all_rows(table, method)):.2f}"

    def number(self, table, method):
        return str(len(self.all_rows(table, method)))

    def wins(self, table, method):
        """At how many sizes the whole interval is below the other's KL."""
        return str(sum(float(row["high"]) < 1 for row in self.all_rows(table, method)))

    def losses(self, table, method):
        return str(sum(float(row["low"]) > 1 for row in self.all_rows(table, method)))

    def plot(self):
        """The SVG of the own-text table: KL of each method is its ratio times the published method's KL."""
        panels = []
        for experiment in self.results.of("own"):
            methods = {name: [] for name in plot.LINES}
            for group in self.groups(experiment):
                first = next(iter(group.values()))
                bits, base = float(first["bits_asked"]), float(first["against_kl"])
                methods["published"].append((bits, base, None, None))
                for name in methods.keys() & group.keys():
                    points = (base * float(group[name][key]) for key in ("ratio", "low", "high"))
                    methods[name].append((bits, *points))
            panels.append((experiment["model"], methods))
        return plot.draw(panels)

    def folders(self):
        """Every folder of every experiment."""
        parts = [
            NOTICE + "# All folders of the results\n\nThe folders of [the results](../results.md) at four sizes, with "
            "perplexity, KL(original || compressed) in nats per token,\nand the 95 % interval of the difference of mean "
            "NLL from the original (paired, clustered by row). `ram` is the published\nmethod; `default` has exactly the "
            "bytes of its folder. The same rows are in [folders.csv](folders.csv)."
        ]
        head = ["folder", "bytes", "bits per weight", "mean", "median", "KL", "same top-1", "mean NLL, 95 %"]
        for experiment in self.results.experiments:
            rows = self.results.rows("folders", experiment["experiment"])
            if not rows:
                continue
            lines = [
                [row["folder"], row["bytes"], f"{float(row['bits_per_weight']):.3f}",
                 f"{float(row['mean_perplexity']):.3f}", f"{float(row['median_perplexity']):.3f}",
                 f"{float(row['kl']):.5f}", f"{float(row['same_top1_percent']):.1f} %",
                 f"{float(row['nll_low']):+.4f} to {float(row['nll_high']):+.4f}"]
                for row in rows
            ]  # fmt: skip
            parts.append(
                f"## {experiment['model']}: {experiment['rows']} rows of {experiment['length']} tokens, "
                f"{experiment['text']}\n\n    {experiment['command']}\n\n{markdown_table(head, lines)}"
            )
            said = [f"Noise floor: KL {float(experiment['noise_floor_kl']):.3g}."] if experiment["noise_floor_kl"] else []
            said += [f"{experiment['inversions']} inversions of mean and median."] if experiment["inversions"] else []
            if said:
                parts.append(" ".join(said))
        return "\n\n".join(parts) + "\n"

    def fill(self, text):
        known = {"ratios", "methods", "conditions", "mean", "least", "most", "number", "wins", "losses"}

        def put(found):
            if found[1] not in known:
                raise SystemExit(f"page.md.in: {found[0]}: one of {', '.join(sorted(known))}")
            return getattr(self, found[1])(*found[2].split())

        return NOTICE + DIRECTIVE.sub(put, text)


def files(root=ROOT):
    """The files of the page: [(path, text)]."""
    folder = root / "docs/results"
    page = Page(Results(folder))
    text = (folder / "page.md.in").read_text(encoding="utf-8")
    return [
        (root / "docs/results.md", page.fill(text)),
        (folder / "folders.md", page.folders()),
        (folder / "quality.svg", page.plot()),
    ]
