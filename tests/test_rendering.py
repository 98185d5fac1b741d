"""The fast look changes pictures a little, physics not at all, and explains what it needs."""

import copy

import mujoco
import numpy as np
import pytest

from embodied.envs import meshes, rendering
from embodied.envs.rendering import FreeView, ModelView, NoRenderer, Renderer
from embodied.errors import EmbodiedError, UnknownName

SCENE = """
<mujoco>
  <asset>
    <mesh name="ball" builtin="sphere" params="4"/>
  </asset>
  <worldbody>
    <light pos="0 0 3" castshadow="true"/>
    <camera name="above" pos="0 0 2"/>
    <geom type="plane" size="2 2 .1" rgba=".3 .4 .5 1"/>
    <body name="ball" pos="0 .2 .5">
      <freejoint/>
      <geom type="mesh" mesh="ball" rgba="1 0 0 1"/>
    </body>
  </worldbody>
</mujoco>
"""
VIEW = FreeView(lookat=(0.0, 0.0, 0.5), distance=4.0, azimuth=90.0, elevation=-20.0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def model():
    return mujoco.MjModel.from_xml_string(SCENE)


def picture(model, quality, view=VIEW, size=64):
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = Renderer(model, {"front": view}, image_size=size, quality=quality)
    try:
        return renderer.render(data, "front")
    finally:
        renderer.close()


def fall(model):
    data = mujoco.MjData(model)
    states = []
    for _ in range(300):
        mujoco.mj_step(model, data)
        states.append(np.concatenate([data.qpos, data.qvel]))
    return np.array(states)


def test_rendering_leaves_the_physics_bit_for_bit_as_it_was(model) -> None:
    untouched = fall(mujoco.MjModel.from_xml_string(SCENE))
    picture(model, "fast")
    np.testing.assert_array_equal(fall(model), untouched)


def test_a_coarse_copy_has_few_triangles_and_leaves_the_original_alone(model) -> None:
    before = model.mesh_vert.copy(), int(model.mesh_facenum[0])
    coarse = meshes.with_coarse_meshes(model, 300)
    assert before[1] > 2000
    assert coarse.mesh_facenum[0] <= 330
    np.testing.assert_array_equal(model.mesh_vert, before[0])
    assert model.mesh_facenum[0] == before[1]
    # and it is still the same ball
    vertex = coarse.mesh_vert[: coarse.mesh_vertnum[0]]
    np.testing.assert_allclose(np.linalg.norm(vertex, axis=1), 1.0, atol=0.05)


def test_the_second_time_the_coarse_mesh_comes_from_disk_and_a_damaged_file_is_made_again(
    model,
) -> None:
    first = meshes.with_coarse_meshes(model, 300)
    (file,) = meshes.cache_folder().iterdir()
    stamp = file.stat().st_mtime_ns
    second = meshes.with_coarse_meshes(model, 300)
    assert file.stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(first.mesh_vert, second.mesh_vert)
    file.write_bytes(file.read_bytes()[:100])
    third = meshes.with_coarse_meshes(model, 300)
    np.testing.assert_array_equal(first.mesh_vert, third.mesh_vert)


def test_seams_of_split_vertices_do_not_tear() -> None:
    # two triangles that share an edge in space, but no vertex
    vertex = np.array(
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32
    )
    face = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    welded, faces = meshes._welded(vertex, face)
    assert len(welded) == 4
    assert len(np.intersect1d(faces[0], faces[1])) == 2


def test_fast_and_stock_show_the_same_scene(model) -> None:
    fast, stock = picture(model, "fast"), picture(model, "stock")
    red = [(image[..., 0] > 2 * image[..., 1].astype(int) + 20) for image in (fast, stock)]
    assert red[1].sum() > 50, "the ball is not in the picture"
    overlap = (red[0] & red[1]).sum() / (red[0] | red[1]).sum()
    assert overlap > 0.9
    assert not np.array_equal(fast, stock), "the stock look has shadows"


def test_pictures_are_upright(model) -> None:
    image = picture(model, "fast")
    assert image[-1].astype(int).sum() != image[0].astype(int).sum()
    # the floor lies below, the empty sky above
    floor = np.abs(image.astype(int) - image[-1].mean(axis=0)).sum(axis=-1).mean(axis=1)
    assert floor[-8:].mean() < floor[:8].mean()


def test_a_camera_that_hangs_the_wrong_way_round_is_turned(model) -> None:
    as_is = picture(model, "fast", ModelView(name="above"))
    turned = picture(model, "fast", ModelView(name="above", upside_down=True))
    np.testing.assert_array_equal(turned, as_is[::-1, ::-1])


def test_an_unknown_camera_lists_the_near_ones(model) -> None:
    with pytest.raises(UnknownName, match="did you mean above"):
        picture(model, "fast", ModelView(name="abov"))


def test_a_closed_renderer_says_so_and_closes_twice(model) -> None:
    renderer = Renderer(model, {"front": VIEW}, image_size=16, quality="fast")
    renderer.close()
    renderer.close()
    with pytest.raises(EmbodiedError, match="closed"):
        renderer.render(mujoco.MjData(model), "front")


def test_two_renderers_do_not_disturb_each_other(model) -> None:
    alone = picture(model, "fast", size=32)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    small = Renderer(model, {"front": VIEW}, image_size=32, quality="fast")
    large = Renderer(copy.copy(model), {"front": VIEW}, image_size=80, quality="fast")
    large.render(data, "front")
    np.testing.assert_array_equal(small.render(data, "front"), alone)
    small.close()
    large.close()


def test_pictures_are_not_reused(model) -> None:
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = Renderer(model, {"front": VIEW}, image_size=32, quality="fast")
    first = renderer.render(data, "front")
    kept = first.copy()
    data.qpos[1] += 1.0
    mujoco.mj_forward(model, data)
    assert not np.array_equal(renderer.render(data, "front"), kept)
    np.testing.assert_array_equal(first, kept)
    renderer.close()


def test_a_missing_library_is_answered_with_the_command_that_installs_it(monkeypatch) -> None:
    def unavailable(name):
        raise ImportError(f"cannot load {name}")

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering.importlib, "import_module", unavailable)
    with pytest.raises(NoRenderer, match="apt-get install -y libegl1 libgl1-mesa-dri libgles2"):
        rendering._gl_context(16)


def test_a_misspelt_library_lists_the_near_ones(monkeypatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "elg")
    with pytest.raises(UnknownName, match="did you mean egl"):
        rendering._gl_context(16)
