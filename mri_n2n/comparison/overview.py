"""Runs at a glance, and one run in full, as tables."""

from collections.abc import Sequence

from mri_n2n.comparison.curves import course, watched
from mri_n2n.comparison.paired import ScoreArray
from mri_n2n.comparison.records import Evaluated, RunRecord
from mri_n2n.comparison.tables import Table, heading_of, titled, told
from mri_n2n.intervals import caveat
from mri_n2n.progress import spoken
from mri_n2n.run_files import sentence

NONE = "–"


def listed(records: Sequence[RunRecord]) -> Table:
    """A line for each run: what it is, how far it is, its PSNR while it was trained and when it was evaluated."""
    rows = tuple(
        (
            record.called,
            record.domain,
            record.status.lower(),
            f"{record.steps[0]}/{record.steps[1]}" + (", damaged" if record.cut else ""),
            record.parameters.get("seed", NONE),
            _last(record),
            _score(record),
            spoken(record.seconds + (record.evaluation_seconds or 0.0)),
        )
        for record in records
    )
    heading = ("run", "of", "status", "steps", "seed", "trained,\ndB", "scored,\ndB", "time")
    note = "PSNR on the validation images that the training looked at last, and on those of the evaluation."
    return Table("Runs", heading, rows, note)


def shown(record: RunRecord) -> list[Table]:
    """Everything that a run left to be read: scores, curves, parameters."""
    tables = [listed([record])]
    if record.evaluated is not None:
        tables += [_scores(record.evaluated, name) for name in record.evaluated.sets]
    curves = tuple(
        (name, f"{len(curve)}", f"{curve[0][1]:.5g}", f"{curve[-1][1]:.5g}") for name, curve in record.curves.items()
    )
    tables.append(Table("Recorded while training", ("metric", "points", "first", "last"), curves))
    tables.append(Table("Parameters", ("parameter", "value"), tuple(record.parameters.items())))
    return [table for table in tables if table.rows]


def _scores(evaluated: Evaluated, name: str) -> Table:
    """Every method's scores on a test set."""
    array = ScoreArray.of({method: [own.of_set(name)] for method, own in evaluated.methods.items() if name in own.sets})
    qualities = array.qualities()
    rows = tuple(
        (arm, *(told(quality.value, quality.metric) for quality in qualities if quality.arm == arm))
        for arm in array.arms
    )
    few = caveat(len(set(array.units)))
    label = sentence(evaluated.label) if evaluated.label else ""
    note = " ".join(filter(None, (f"{len(array.units)} images. Brackets: {evaluated.interval}.", few, label)))
    return Table(titled("Scores", name), ("method", *map(heading_of, array.metrics)), rows, note)


def _last(record: RunRecord) -> str:
    method = watched(record)
    return NONE if method is None else f"{course(record, method)[-1][1]:.2f}"


def _score(record: RunRecord) -> str:
    if record.evaluated is None:
        return NONE
    scores = record.evaluated.methods[record.evaluated.result]
    return f"{scores.metrics['psnr'].mean():.2f}" if "psnr" in scores.metrics else NONE
