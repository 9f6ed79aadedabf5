"""A picture of some frames, to look at before training on them."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mri_n2n.data.selection import evenly_spread
from mri_n2n.durable import replacing
from rendering.frames import CONTACT, FrameStore
from rendering.radiance import Planes, in_8_bit, tone_map

ROWS, WIDTH, GAP = 12, 320, 4  # rows of frames at most; pixels of a picture at most, and between pictures


def write_contact_sheet(store: FrameStore) -> None:
    """Draw contact.png: a row for each of some complete frames, with its render, reference, albedo and normals."""
    complete = sorted(store.complete)
    chosen = [complete[place] for place in evenly_spread(len(complete), min(ROWS, len(complete)))]
    arrays = {name: store.array(name) for name in store.layout.arrays()}
    rows = []
    for place in chosen:
        pictures = [tone_map(arrays["colour"][place, 0])]
        if "reference" in arrays:
            pictures.append(tone_map(arrays["reference"][place]))
        pictures.append(arrays["albedo"][place, 0].astype(np.float64))
        pictures.append(arrays["normal"][place, 0].astype(np.float64) / 2 + 0.5)
        rows.append(np.concatenate([_picture(picture) for picture in pictures], axis=1))
    with replacing(store.directory / CONTACT) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary)


def _picture(planes: Planes) -> NDArray[np.uint8]:
    image = Image.fromarray(in_8_bit(planes))
    image.thumbnail((WIDTH, WIDTH), Image.Resampling.BOX)
    return np.pad(np.asarray(image), ((GAP, 0), (GAP, 0), (0, 0)))
