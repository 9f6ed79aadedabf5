"""A small scene of our own: a room's corner with a lamp, a rough copper ball and a textured board."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOM = """<scene version="3.0.0">
  <integrator type="path"><integer name="max_depth" value="4"/></integrator>
  <sensor type="perspective">
    <float name="fov" value="50"/>
    <transform name="to_world"><lookat origin="0, 1, 5" target="0, 0.9, 0" up="0, 1, 0"/></transform>
    <film type="hdrfilm"><integer name="width" value="64"/><integer name="height" value="64"/></film>
  </sensor>
  <shape type="rectangle">
    <transform name="to_world"><scale value="6"/><rotate x="1" angle="-90"/></transform>
    <bsdf type="twosided"><bsdf type="diffuse"><rgb name="reflectance" value="0.7, 0.6, 0.5"/></bsdf></bsdf>
  </shape>
  <shape type="rectangle">
    <transform name="to_world"><scale value="6"/><translate z="-2"/></transform>
    <bsdf type="diffuse"><rgb name="reflectance" value="0.3, 0.5, 0.8"/></bsdf>
  </shape>
  <shape type="sphere">
    <point name="center" x="-0.7" y="0.6" z="0.5"/><float name="radius" value="0.6"/>
    <bsdf type="roughconductor"><string name="material" value="Cu"/><float name="alpha" value="0.3"/></bsdf>
  </shape>
  <shape type="rectangle">
    <transform name="to_world"><scale value="0.6"/><translate x="0.9" y="0.8"/></transform>
    <bsdf type="twosided"><bsdf type="diffuse">
      <texture name="reflectance" type="bitmap"><string name="filename" value="board.png"/></texture>
    </bsdf></bsdf>
  </shape>
  <shape type="rectangle">
    <transform name="to_world"><rotate x="1" angle="90"/><translate y="3"/></transform>
    <emitter type="area"><rgb name="radiance" value="9, 8, 7"/></emitter>
  </shape>
</scene>
"""


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """The scene as a user has it: room/scene.xml, and the texture beside it."""
    folder = tmp_path / "room"
    folder.mkdir()
    (folder / "scene.xml").write_text(ROOM)
    board = np.indices((8, 8)).sum(axis=0) % 2 * np.uint8(200)
    Image.fromarray(np.stack([board, board, 255 - board], axis=-1).astype(np.uint8)).save(folder / "board.png")
    return folder / "scene.xml"
