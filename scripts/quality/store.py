"""The measured results: three CSV files in docs/results, which `measure` fills and the page shows.

experiments.csv: one experiment per row, a model scored on one text: what was run, how, and in which table it is shown.
folders.csv: the folders of an experiment, each with its size, perplexities and divergence.
ratios.csv: KL of a method over the KL of another folder at the same bytes, with the paired 95 % interval; where the
method measured coefficients, the limit of codes with independent errors at that size (nats per token).

Values are text, as printed: a number keeps its recorded digits. An empty field is unknown.
`date` and `commit` say when a row was recorded, and on top of which commit.
"""

import csv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

COLUMNS = {
    "experiments": "experiment table model text length rows noise_floor_kl inversions note command".split(),
    "folders": (
        "experiment folder bytes bits_per_weight mean_perplexity median_perplexity kl same_top1_percent "
        "nll_low nll_high date commit"
    ).split(),
    "ratios": (
        "experiment against bits_asked bits_per_weight against_kl method kl ratio low high limit date commit"
    ).split(),
}


class Results:
    """The three files as lists of dictionaries, in the order of the files."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.experiments, self.folders, self.ratios = (self._read(name) for name in COLUMNS)

    def _read(self, name):
        path = self.folder / f"{name}.csv"
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if reader.fieldnames != COLUMNS[name]:
                raise SystemExit(f"{path}: columns {reader.fieldnames}, not {COLUMNS[name]}")
            rows = list(reader)
        for number, row in enumerate(rows, 2):
            if None in row or None in row.values():
                raise SystemExit(f"{path}: row {number} has too many or too few fields")
        return rows

    def of(self, table):
        """The experiments of a table."""
        return [row for row in self.experiments if row["table"] == table]

    def rows(self, name, experiment):
        return [row for row in getattr(self, name) if row["experiment"] == experiment]

    def replace(self, experiment, folders, ratios):
        """Replaces the rows of an experiment; `experiment` is its row in experiments.csv."""
        name = experiment["experiment"]
        for table, rows in (("experiments", [experiment]), ("folders", folders), ("ratios", ratios)):
            kept = getattr(self, table)
            places = [i for i, row in enumerate(kept) if row["experiment"] == name]
            at = places[0] if places else len(kept)
            kept = [row for row in kept if row["experiment"] != name]
            setattr(self, table, kept[:at] + rows + kept[at:])

    def write(self):
        for name, columns in COLUMNS.items():
            with open(self.folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(getattr(self, name))
