"""From a folder of volumes (IXI or any other) to prepared slices."""

from dataclasses import asdict, replace
from pathlib import Path

from mri_n2n.data.selection import SliceRequest, normalised
from mri_n2n.data.slices import Manifest, SliceWriter, plan_hash
from mri_n2n.data.subjects import SplitRequest, number_of, numbers_so_far, subject_of
from mri_n2n.data.volumes import common_size, find_volumes, read_volume
from mri_n2n.errors import BadVolume
from mri_n2n.progress import bar, say


def prepare_ixi(
    source: Path,
    destination: Path,
    *,
    split: SplitRequest | None = None,
    slices: SliceRequest | None = None,
    bits: int = 8,
    strict: bool = False,
    overwrite: bool = False,
) -> Manifest:
    """Turn the volumes under `source` into prepared slices at `destination` (see docs/data.md for what is stored).

        One volume is in memory at a time. A bad volume is reported and skipped, or raised if `strict`; the next
    subject takes its place.
    """
    split, slices = split or SplitRequest(), slices or SliceRequest()
    files = find_volumes(source)
    split.check_enough(len({subject_of(file) for file in files}), f"under {source}")
    options = {"kind": "images", "split": asdict(split), "slices": asdict(slices), "bits": bits}
    manifest = Manifest("images", plan_hash(options, files), bits, common_size(files))
    writer = SliceWriter(destination, manifest, overwrite=overwrite)
    if writer.complete:
        say(f"{destination} is already prepared: nothing to do.")
        return writer.manifest
    numbers = numbers_so_far(writer.manifest)
    clipped: list[range] = []
    with writer.filling():
        for file in bar(files, description="preparing", unit="volume"):
            name = str(file.relative_to(source))
            part = split.of(subject_of(file), writer.manifest, numbers)
            if part is None or writer.has(name):
                continue
            try:
                volume = read_volume(file)
                chosen = slices.within(file, volume.array.shape[2])
                if chosen[-1] < slices.last and chosen not in clipped:
                    clipped.append(chosen)
                    say(f"{file} (and others): {volume.array.shape[2]} slices, taking {chosen[0]}..{chosen[-1]}.")
                images, stored = normalised(volume.array[None], chosen)
            except BadVolume as error:
                if strict:
                    raise
                say(f"skipped: {error}")
                writer.skip(name, str(error))
                continue
            subject = number_of(subject_of(file), part, writer.manifest, numbers)
            writer.append(
                replace(stored, subject=subject, split=part, sources=[{"file": name, "sha256": volume.sha256}]), images
            )
        split.check_filled(writer.manifest, f"under {source}")
        return writer.finish()
