"""One off-screen renderer for every MuJoCo suite, fast where there is no GPU.

Shadow maps, multisampling, mirrors and fine meshes make software OpenGL ten to thirty times slower
and change little in a small picture. ``quality="fast"`` leaves them out, ``"stock"`` keeps the look
of the model. Neither touches the physics: only the renderer's own buffers differ.
"""

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import mujoco
import numpy as np
from jaxtyping import UInt8

from embodied.envs.meshes import with_coarse_meshes
from embodied.errors import BadConfig, EmbodiedError, UnknownName

Quality = Literal["fast", "stock"]

COARSE_FACES = 500
"""Triangles per mesh in fast quality; fewer thin out the foot of the Panda arm visibly."""


class NoRenderer(EmbodiedError):
    """No OpenGL library for off-screen rendering could be loaded."""

    def __init__(self, tried: Mapping[str, str]) -> None:
        causes = "; ".join(f"{name}: {cause}" for name, cause in tried.items())
        super().__init__(
            f"no OpenGL library for rendering could be loaded ({causes}). Install one with "
            "`sudo apt-get install -y libegl1 libgl1-mesa-dri libgles2` (MUJOCO_GL=egl) or "
            "`sudo apt-get install -y libosmesa6` (MUJOCO_GL=osmesa)."
        )


@dataclass(frozen=True, kw_only=True)
class FreeView:
    """A camera that looks at a point of the world, and may go along with a body."""

    lookat: tuple[float, float, float]
    """Point in the world in metres; x and y are offsets from the body if there is one."""
    distance: float
    azimuth: float
    """Degrees, about the vertical."""
    elevation: float
    """Degrees; negative looks down."""
    body: str = ""
    """Body that the camera follows, level and without turning; empty if it stands still."""


@dataclass(frozen=True, kw_only=True)
class ModelView:
    """A camera that the model defines."""

    name: str
    upside_down: bool = False
    """Whether the model's camera hangs the wrong way round, so that its picture must be turned."""


View = FreeView | ModelView


class Renderer:
    """Renders named views of one model into square uint8 pictures."""

    def __init__(
        self, model: Any, views: Mapping[str, View], *, image_size: int, quality: Quality
    ) -> None:
        if quality not in get_args(Quality):
            raise UnknownName("quality", quality, get_args(Quality))
        if image_size < 8:
            raise BadConfig(f"image_size is {image_size} pixels; 8 is the least.")
        self.image_size = image_size
        self._model = model
        self._views = dict(views)
        self._cameras = {name: _camera(model, view) for name, view in views.items()}
        self._gl = _gl_context(image_size)
        self._gl.make_current()
        self._context = mujoco.MjrContext(
            _drawn_model(model, image_size, quality), mujoco.mjtFontScale.mjFONTSCALE_100
        )
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        if quality == "fast":
            self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self.options = mujoco.MjvOption()
        self._perturbation = mujoco.MjvPerturb()
        self._viewport = mujoco.MjrRect(0, 0, image_size, image_size)
        self._rows_up = np.empty((image_size, image_size, 3), dtype=np.uint8)

    def render(self, data: Any, view: str) -> UInt8[np.ndarray, "height width 3"]:
        """A new picture of the present state.

        Raises:
            UnknownName: if there is no such view.
        """
        if view not in self._cameras:
            raise UnknownName("camera", view, self._cameras)
        if self._gl is None:
            raise EmbodiedError("this renderer is closed; make a new environment to render again.")
        camera, where = self._cameras[view], self._views[view]
        if isinstance(where, FreeView) and where.body:
            camera.lookat[:2] = data.body(where.body).xpos[:2] + np.asarray(where.lookat[:2])
        self._gl.make_current()
        mujoco.mjv_updateScene(
            self._model, data, self.options, self._perturbation, camera,
            mujoco.mjtCatBit.mjCAT_ALL, self._scene,
        )  # fmt: skip
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._rows_up, None, self._viewport, self._context)
        if isinstance(where, ModelView) and where.upside_down:
            return self._rows_up[:, ::-1].copy()
        return self._rows_up[::-1].copy()

    def close(self) -> None:
        """Give the OpenGL context back; calling it again does nothing."""
        if self._gl is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._gl = None


def _drawn_model(model: Any, image_size: int, quality: Quality) -> Any:
    """The copy of the model that OpenGL's buffers are filled from."""
    drawn = with_coarse_meshes(model, COARSE_FACES if quality == "fast" else 2**31 - 1)
    drawn.vis.global_.offwidth = drawn.vis.global_.offheight = image_size
    if quality == "fast":
        drawn.vis.quality.offsamples = 0
        drawn.vis.quality.shadowsize = 0
    return drawn


def _camera(model: Any, view: View) -> Any:
    camera = mujoco.MjvCamera()
    if isinstance(view, ModelView):
        names = [model.camera(index).name for index in range(model.ncam)]
        if view.name not in names:
            raise UnknownName("camera", view.name, names)
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = model.camera(view.name).id
        return camera
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat[:] = view.lookat
    camera.distance, camera.azimuth, camera.elevation = view.distance, view.azimuth, view.elevation
    return camera


def _gl_context(image_size: int) -> Any:
    """An off-screen context of the library that MUJOCO_GL names; by default EGL, then OSMesa."""
    libraries = ("egl", "osmesa", "glfw")
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted and wanted not in libraries:
        raise UnknownName("MUJOCO_GL library", wanted, libraries)
    tried: dict[str, str] = {}
    for name in (wanted,) if wanted else libraries[:2]:
        try:
            return importlib.import_module(f"mujoco.{name}").GLContext(image_size, image_size)
        except (ImportError, AttributeError, RuntimeError, OSError) as error:
            tried[name] = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise NoRenderer(tried)
