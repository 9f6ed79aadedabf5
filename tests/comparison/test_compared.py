"""Comparing runs: the numbers against ones known beforehand, and what cannot be compared."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from comparison_runs import ROWS, made_run
from scipy.stats import ttest_1samp, ttest_rel, wilcoxon

from mri_n2n.comparison.arms import arms_of
from mri_n2n.comparison.compared import compare
from mri_n2n.comparison.overview import listed, shown
from mri_n2n.comparison.paired import Quality
from mri_n2n.comparison.records import read_run
from mri_n2n.comparison.tables import as_csv, as_json, headlines, markdown
from mri_n2n.errors import UsageError
from mri_n2n.intervals import caveat, estimates
from mri_n2n.pages.comparison_page import comparison_page


def quality(found: tuple[Quality, ...], arm: str, metric: str = "psnr") -> Quality:
    (only,) = [own for own in found if (own.arm, own.metric) == (arm, metric)]
    return only


def test_means_differences_and_what_differs(tmp_path: Path) -> None:
    first = read_run(made_run(tmp_path / "plain", gain=5.0))
    second = read_run(made_run(tmp_path / "better", gain=6.5, recipe={"loss": "ht"}))
    found = compare([first, second])
    mean_row = (ROWS - 1) / 2
    assert quality(found.scored[0].qualities, "plain").value.mean == pytest.approx(25 + mean_row / 3)
    assert quality(found.scored[0].qualities, "better").value.mean == pytest.approx(26.5 + mean_row / 3)
    assert quality(found.scored[0].references, "input").value.mean == pytest.approx(20 + mean_row / 3)
    difference = next(own for own in found.scored[0].differences if own.metric == "psnr")
    assert (difference.arm, difference.baseline) == ("better", "plain")
    assert difference.value.mean == pytest.approx(1.5)
    assert difference.value.low == pytest.approx(1.5)  # image by image: what images have in common does not count
    assert difference.p == pytest.approx(wilcoxon([1.5] * 6).pvalue)
    assert found.parameters == {"loss": ("–", "ht")}
    assert found.scored[0].images == ROWS
    assert [(own.final.mean, own.best.mean, own.best.low, own.best_step) for own in found.milestones] == [
        (26.0, 27.0, 26.0, 50.0)
    ] * 2
    costs = [(cost.seconds, cost.evaluation_seconds, cost.images_per_second, cost.device) for cost in found.costs]
    assert costs == [(64.0, 4.0, 5.0, "2 CPU threads")] * 2
    assert not found.notes


def test_seeds_go_together(tmp_path: Path) -> None:
    runs = [
        read_run(made_run(tmp_path / f"{name}-seed{seed}", seed=seed, gain=gain, noise=0.3, recipe={"loss": name}))
        for name, gain in (("paper", 5.0), ("ht", 6.0))
        for seed in range(3)
    ]
    found = compare(runs)
    assert [(arm.name, arm.seeds) for arm in found.arms] == [("paper", ["0", "1", "2"]), ("ht", ["0", "1", "2"])]
    own = quality(found.scored[0].qualities, "ht")
    assert own.value.mean == pytest.approx(np.mean(own.seeds))
    assert len(set(own.seeds)) == 3
    difference = found.scored[0].differences[0]
    first = quality(found.scored[0].qualities, "paper")
    assert difference.seeds == pytest.approx(np.subtract(own.seeds, first.seeds))
    assert compare(runs[:-1]).scored[0].differences[0].seeds == ()  # other seeds
    assert len(compare(runs, grouped=False).arms) == 6
    assert "seeds, dB" in markdown(found)
    assert "seed by seed" in markdown(found)


def test_folders_of_seeds_stay_together(tmp_path: Path) -> None:
    """A run beside a folder of seeds of its recipe is no seed of that, and what is taken together is said."""
    single = made_run(tmp_path / "first", gain=5.0)
    folder = [made_run(tmp_path / f"sweep/seed-{seed}", seed=seed, gain=5.0 + seed) for seed in (0, 1)]
    (tmp_path / "sweep/experiment.json").write_text('{"name": "sweep"}')
    for order in ((single, *folder), (*folder, single)):
        found = compare([read_run(run) for run in order])
        assert {arm.name: arm.seeds for arm in found.arms} == {"first": ["0"], "sweep": ["0", "1"]}
        assert "sweep: 2 seeds together (sweep-seed-0, sweep-seed-1)." in found.notes
    assert compare([read_run(single), read_run(folder[0])]).scored[0].differences[0].value.mean == 0.0


def test_seeds_go_together_beside_runs_on_other_data(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / f"{name}-seed{seed}", seed=seed, tested_on=name) for name in "ab" for seed in (0, 1)]
    found = compare([read_run(run) for run in runs], different_data=True)
    assert [(arm.name, arm.seeds) for arm in found.arms] == [("a", ["0", "1"]), ("b", ["0", "1"])]
    assert not any("images are the same" in note for note in found.notes)
    assert "Over as few as 6 such intervals" in markdown(found)


def test_another_kind_of_data_is_refused_whether_scored_or_not(tmp_path: Path) -> None:
    first, other = made_run(tmp_path / "first"), made_run(tmp_path / "other", tested_on=None)
    described = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps(described | {"domain": "photographs"}))
    with pytest.raises(UsageError, match=r"other has other data \(photographs, not MRI\) than first"):
        compare([read_run(first), read_run(other)])


def test_what_was_recorded_before_evaluations_had_a_time(tmp_path: Path) -> None:
    old, new = made_run(tmp_path / "old"), made_run(tmp_path / "new", recipe={"k": 1})
    lines = [line for line in (old / "metrics.jsonl").read_text().splitlines() if "evaluation_seconds" not in line]
    (old / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    found = compare([read_run(old), read_run(new)])
    assert [(cost.seconds, cost.evaluation_seconds) for cost in found.costs] == [(60.0, None), (64.0, 4.0)]
    assert "without evaluations where their time was not recorded" in markdown(found)


def test_a_record_that_was_cut_is_told(tmp_path: Path) -> None:
    run = made_run(tmp_path / "cut")
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:2]))
    record = read_run(run)
    assert listed([record]).rows[0][3] == "100/100, damaged"
    assert "cut has a damaged record" in " ".join(compare([record, read_run(made_run(tmp_path / "whole"))]).notes)
    (run / "metrics.jsonl").write_text('{"step": 1, "time": 1, "loss": NaN}\n')
    with pytest.raises(UsageError, match="a value is nan"):
        read_run(run)


def test_every_file_has_the_label_and_the_notes(tmp_path: Path) -> None:
    runs = [read_run(made_run(tmp_path / name, recipe={"k": name})) for name in "ab"]
    for name in "ab":
        network = tmp_path / name / "network.json"
        network.write_text(network.read_text().replace('"step": 100', '"step": 40'))
    unended = compare([read_run(tmp_path / name) for name in "ab"])
    page = comparison_page(json.loads(json.dumps(as_json(unended))), "the comparison")
    for text in (as_csv(unended), markdown(unended), page):
        assert "Made up." in text
        assert "a is not finished: 40 of 100 steps" in text
    unscored = [read_run(made_run(tmp_path / f"{name}-unscored", tested_on=None, recipe={"k": name})) for name in "cd"]
    assert headlines(compare(unscored))[0] == "Not for diagnostic use."
    simulated = [replace(run, parameters={**run.parameters, "data.kind": "images"}) for run in unscored]
    assert headlines(compare(simulated))[0].startswith("K-space simulated")
    measured = replace(runs[1], evaluated=replace(runs[1].evaluated, label="measured"))
    assert headlines(compare([runs[0], measured]))[0] == "Made up; measured."


@pytest.mark.parametrize("number", [2, 5, 12])
def test_what_is_said_of_intervals_over_few(number: int) -> None:
    """The share of bootstrap intervals that hold the mean of normal values, against what the formula says."""
    said = int(re.search(r"about (\d+) %", caveat(number)).group(1))
    drawn = np.random.default_rng(0).standard_normal((number, 300))
    found = estimates([str(row) for row in range(number)], drawn)
    held = 100 * np.mean([own.low <= 0 <= own.high for own in found])
    assert abs(held - said) < 7
    assert caveat(20) == ""


def test_the_end_of_a_training_has_an_interval_over_seeds(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / f"run-seed{seed}", seed=seed) for seed in range(3)]
    for run, last in zip(runs, (25.0, 26.0, 27.0), strict=True):
        path, name = run / "metrics.jsonl", '"validation/psnr/network": '
        path.write_text(path.read_text().replace(f"{name}26.0", f"{name}{last}"))
    other = made_run(tmp_path / "other", recipe={"k": 1})
    found = compare([read_run(run) for run in (*runs, other)]).milestones[0]
    expected = ttest_1samp([25.0, 26.0, 27.0], 0).confidence_interval(0.95)
    assert (found.final.mean, found.final.low, found.final.high) == pytest.approx((26.0, *expected))
    assert (found.best.mean, found.best.low, found.best.high) == (27.0, 27.0, 27.0)


def test_each_test_set_has_scores_of_its_own(tmp_path: Path) -> None:
    """Photographs of Kodak's and of Set14 are not one population."""
    records = []
    for name, gains in (("first", (1.0, 1.0)), ("second", (2.0, 5.0))):
        run = made_run(tmp_path / name, recipe={"k": name})
        table = run / "evaluation/slices.csv"
        heading, *lines = table.read_text().splitlines()
        rows = []
        for subject, row, place, method, psnr, ssim in (line.split(",") for line in lines):
            own = int(row) % 3 == 0  # four images of twelve
            gain = gains[own] if method == "network" else 0.0
            rows.append(f"{subject},{row},{place},{method},{float(psnr) + gain},{ssim},{'set 14' if own else 'kodak'}")
        table.write_text("\n".join([f"{heading},set", *rows]) + "\n")
        records.append(read_run(run))
    found = compare(records)
    assert [(own.set, own.images) for own in found.scored] == [("set 14", 4), ("kodak", 8)]
    means = {own.set: own.differences[0].value.mean for own in found.scored}
    assert means == pytest.approx({"kodak": 1.0, "set 14": 4.0})
    assert quality(found.scored[0].references, "input").value.mean == pytest.approx(20 + 4.5 / 3)
    text = markdown(found)
    for title in ("Scores: kodak", "Scores: set 14", "Differences: kodak", "Differences: set 14"):
        assert f"## {title}\n" in text
    page = comparison_page(json.loads(json.dumps(as_json(found))), "the comparison")
    assert "PSNR of each subject (image, scene) of set 14" in page
    assert [table.title for table in shown(records[0])][1:3] == ["Scores: set 14", "Scores: kodak"]
    line = next(line for line in as_csv(found).splitlines() if line.startswith("second,difference,psnr,kodak,first,"))
    assert float(line.split(",")[5]) == pytest.approx(1.0)


def test_names_of_arms_tell_them_apart(tmp_path: Path) -> None:
    runs = [
        read_run(made_run(tmp_path / arm / f"seed-{seed}", seed=seed, recipe={"rate": arm}))
        for arm in ("slow", "fast")
        for seed in (0, 1)
    ]
    assert [arm.name for arm in arms_of(runs, grouped=True)] == ["slow", "fast"]
    assert len({arm.name for arm in arms_of(runs, grouped=False)}) == 4


def test_intervals_are_over_subjects(tmp_path: Path) -> None:
    """Of two subjects there are three resamples: the ends are the subjects' own means, whatever the images are."""
    runs = [made_run(tmp_path / f"run{k}", seed=k, noise=1.0, recipe={"k": k}, subjects=2) for k in (0, 1)]
    scored = compare([read_run(run) for run in runs]).scored[0]
    first, second = (np.array(scored.by_unit["psnr"][name]) for name in ("run0", "run1"))
    for value, means in (
        (quality(scored.qualities, "run1").value, second),
        (scored.differences[0].value, second - first),
    ):
        assert (value.low, value.high) == pytest.approx((means.min(), means.max()))
    many = compare([read_run(made_run(tmp_path / f"many{k}", recipe={"k": k}, subjects=12)) for k in (0, 1)])
    assert many.scored[0].units == len(many.scored[0].by_unit["psnr"]["many0"]) == 12


def test_a_difference_by_chance_is_not_called_one(tmp_path: Path) -> None:
    """Of 30 comparisons of equal runs, p < 0.05 in one or two: more than six come once in 1,500 such tests."""
    found = []
    for trial in range(30):
        runs = [
            read_run(made_run(tmp_path / f"{trial}-{k}", seed=2 * trial + k, noise=1.0, recipe={"k": k}, subjects=12))
            for k in (0, 1)
        ]
        difference = compare(runs).scored[0].differences[0]
        found.append((difference.p, difference.value.low < 0 < difference.value.high))
    assert sum(p < 0.05 for p, _ in found) <= 6
    assert sum(inside for _, inside in found) >= 22  # 95 % intervals of few units are a little too narrow


def test_a_real_difference_is_found(tmp_path: Path) -> None:
    runs = [
        read_run(made_run(tmp_path / f"{k}", seed=k, gain=k, noise=0.3, recipe={"k": k}, subjects=12)) for k in (0, 1)
    ]
    difference = compare(runs).scored[0].differences[0]
    assert difference.p < 0.01
    assert difference.value.low > 0.5
    paired = compare(runs).scored[0].by_unit["psnr"]
    assert ttest_rel(paired["1"], paired["0"]).pvalue < 0.01


def test_other_images_are_refused_by_name(tmp_path: Path) -> None:
    first = read_run(made_run(tmp_path / "first"))
    other = read_run(made_run(tmp_path / "other", tested_on="others", recipe={"k": 1}))
    fewer = read_run(made_run(tmp_path / "fewer", rows=range(6), recipe={"k": 2}))
    for run in (other, fewer):
        with pytest.raises(UsageError, match=rf"{run.name} has other images than first"):
            compare([first, run])
    found = compare([first, other], different_data=True)
    assert [own.differences for own in found.scored] == [()]
    assert [own.arm for own in found.scored[0].qualities if own.metric == "psnr"] == ["first", "other"]
    assert "nothing is compared image by image" in " ".join(found.notes)


def test_runs_without_scores_are_compared_by_their_curves(tmp_path: Path) -> None:
    first = read_run(made_run(tmp_path / "first", tested_on=None))
    second = read_run(made_run(tmp_path / "second", recipe={"k": 1}, steps=(40, 100)))
    found = compare([first, second])
    assert [own.arm for own in found.scored[0].qualities if own.metric == "psnr"] == ["second"]
    assert len(found.milestones) == 2
    assert "first. Evaluate them" in found.notes[0]
    assert "second is not finished: 40 of 100 steps" in found.notes[1]


def test_a_method_of_choice(tmp_path: Path) -> None:
    runs = [read_run(made_run(tmp_path / f"{k}", gain=3.0, recipe={"k": k})) for k in (0, 1)]
    found = compare(runs, method="input")
    assert quality(found.scored[0].qualities, "0").value.mean == pytest.approx(20 + (ROWS - 1) / 6)
    with pytest.raises(UsageError, match="no scores of 'other', but of input, network"):
        compare(runs, method="other")
    with pytest.raises(UsageError, match="at least two runs, got 1"):
        compare(runs[:1])


def test_files_hold_the_same_numbers_and_no_places(tmp_path: Path) -> None:
    found = compare([read_run(made_run(tmp_path / f"{k}", gain=k, recipe={"k|": k})) for k in (0, 2)])
    content = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert content["scored"][0]["differences"][0]["value"]["mean"] == pytest.approx(2.0)
    assert content["arms"][0]["runs"][0]["curves"]["validation/psnr/network"][0] == [0, 10.0]
    line = next(line for line in as_csv(found).splitlines() if line.startswith("2,difference,psnr,,0,"))
    assert float(line.split(",")[5]) == pytest.approx(2.0)
    assert "+2.00 [+2.00, +2.00]" in markdown(found)
    assert r"k\|" in markdown(found)
    for text in (json.dumps(content), as_csv(found), markdown(found)):
        assert "/home" not in text
        assert str(tmp_path) not in text


def test_twenty_runs_with_a_thousand_images_take_seconds(tmp_path: Path) -> None:
    """Below 3 s of one core, reading included (measured: about 1)."""
    runs = [
        made_run(tmp_path / f"{arm}-seed{seed}", seed=seed, noise=1.0, recipe={"arm": arm}, rows=range(1000))
        for arm in range(10)
        for seed in (0, 1)
    ]
    began = time.process_time()
    found = compare([read_run(run) for run in runs], grouped=False)
    as_json(found)
    assert time.process_time() - began < 3.0
    assert len(found.arms) == 20


def test_runs_of_one_seed_are_not_taken_together(tmp_path: Path) -> None:
    """Whether a change of the program changed a result is asked by comparing runs that differ in nothing else."""
    for name, gain in (("before", 5.0), ("after", 7.0)):
        for seed in (0, 1):
            run = made_run(tmp_path / f"{name}-seed{seed}", seed=seed, gain=gain)
            described = json.loads((run / "run.json").read_text())
            described["environment"]["commit"] = name
            (run / "run.json").write_text(json.dumps(described))
    order = ("before-seed0", "after-seed0", "after-seed1", "before-seed1")
    found = compare([read_run(tmp_path / name) for name in order])
    assert [(arm.name, arm.seeds) for arm in found.arms] == [("before", ["0", "1"]), ("after", ["0", "1"])]
    assert found.parameters == {"environment.commit": ("before", "after")}
    assert found.scored[0].differences[0].value.mean == pytest.approx(2.0)
    twice = compare([read_run(tmp_path / "before-seed0"), read_run(made_run(tmp_path / "x" / "before-seed0"))])
    assert [arm.name for arm in twice.arms] == ["before-seed0 (1)", "before-seed0 (2)"]
    mixed = compare([read_run(tmp_path / name) for name in ("before-seed0", "after-seed1")])
    assert "before has runs of several commits" in " ".join(mixed.notes)


def test_seeds_scored_on_other_images_have_no_mean(tmp_path: Path) -> None:
    first = read_run(made_run(tmp_path / "run-seed0", gain=1.0))
    other = read_run(made_run(tmp_path / "run-seed1", seed=1, gain=3.0, tested_on="others", rows=range(20, 25)))
    found = compare([first, other], different_data=True)
    assert [arm.name for arm in found.arms] == ["run-seed0", "run-seed1"]
    assert "12 images" not in markdown(found)


def test_methods_with_fewer_images_are_compared_on_those(tmp_path: Path) -> None:
    """As of photographs, where a method that leaves an image as it is has no PSNR of it."""
    run = made_run(tmp_path / "run", gain=2.0)
    table = run / "evaluation/slices.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if not line.startswith("subject-3,3,3,input")) + "\n")
    record = read_run(run)
    assert "11 images" in shown(record)[1].note
    found = compare([record, read_run(made_run(tmp_path / "other", recipe={"k": 1}))], method="input")
    assert found.scored[0].images == ROWS - 1
    table.write_text("\n".join([*lines, lines[-1]]) + "\n")
    with pytest.raises(UsageError, match="has an image twice"):
        read_run(run)
    table.write_text("\n".join([*lines[:-1], lines[-1].rsplit(",", 2)[0] + ",nan,0.9"]) + "\n")
    with pytest.raises(UsageError, match="a value is nan"):
        read_run(run)


def test_what_a_reader_must_know_is_noted(tmp_path: Path) -> None:
    run = made_run(tmp_path / "stale", recipe={"task": {"corruption": {"acceleration": 4}}})
    for name, key, value in (("evaluation/summary.json", "weights_sha256", "old"), ("network.json", "sha256", "new")):
        content = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps(content | {key: value}))
    other = read_run(made_run(tmp_path / "other", recipe={"task": {"corruption": {"acceleration": 10}}}))
    notes = " ".join(compare([read_run(run), other]).notes)
    assert "stale was trained on after it was evaluated" in notes
    assert "not how they are sampled" in notes


def test_a_flight_has_a_course_and_a_curve_keeps_its_end(tmp_path: Path) -> None:
    run = made_run(tmp_path / "flight", tested_on=None)
    points = [{"step": step, "time": 1, "online/psnr/network": float(step)} for step in range(401)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
    found = compare([read_run(run), read_run(made_run(tmp_path / "other", tested_on=None, recipe={"k": 1}))])
    assert found.milestones[0].final.mean == 400.0
    curve = as_json(found)["arms"][0]["runs"][0]["curves"]["online/psnr/network"]
    assert curve[-1] == [400, 400.0]
    assert len(curve) <= 202
