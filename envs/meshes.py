"""Coarse copies of visual meshes, computed once and kept on disk.

Software rendering of a small picture is bound by the number of vertices: a Sawyer arm has 68,000
triangles, of which a 96 x 96 picture can show a tenth. Meshes are simplified by quadric error
(Garland and Heckbert, 1997) in a *copy* of the compiled model from which only the renderer's
buffers are filled; physics keeps the original.
"""

import copy
import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from embodied.errors import BadConfig

_VERSION = b"2"


def with_coarse_meshes(model: Any, faces: int) -> Any:
    """A copy of a compiled MuJoCo model whose meshes have at most about ``faces`` triangles each.

    Meshes that show a texture are left as they are. The copy is for filling a renderer's buffers,
    not for physics: convex hulls and mesh trees no longer belong to the surface that it holds.
    """
    coarse = copy.copy(model)
    textured = _textured_meshes(model)
    for mesh in range(model.nmesh):
        if model.mesh_facenum[mesh] > faces and mesh not in textured:
            _replace(coarse, mesh, faces)
    return coarse


def _textured_meshes(model: Any) -> set[int]:
    drawn = np.flatnonzero((model.geom_dataid >= 0) & (model.geom_matid >= 0))
    with_texture = (model.mat_texid[model.geom_matid[drawn]] >= 0).any(axis=-1)
    return set(model.geom_dataid[drawn[with_texture]].tolist())


def _replace(model: Any, mesh: int, faces: int) -> None:
    first_vertex, vertices = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    first_face, triangles = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    first_normal = model.mesh_normaladr[mesh]
    vertex, face = _simplified(
        model.mesh_vert[first_vertex : first_vertex + vertices].copy(),
        model.mesh_face[first_face : first_face + triangles].copy(),
        faces,
    )
    if len(vertex) > min(vertices, model.mesh_normalnum[mesh]) or len(face) > triangles:
        return
    model.mesh_vert[first_vertex : first_vertex + len(vertex)] = vertex
    model.mesh_face[first_face : first_face + len(face)] = face
    model.mesh_normal[first_normal : first_normal + len(vertex)] = _normals(vertex, face)
    model.mesh_facenormal[first_face : first_face + len(face)] = face
    model.mesh_vertnum[mesh] = model.mesh_normalnum[mesh] = len(vertex)
    model.mesh_facenum[mesh] = len(face)
    model.mesh_graphadr[mesh] = model.mesh_texcoordadr[mesh] = -1


def _normals(
    vertex: Float32[np.ndarray, "vertex 3"], face: Int[np.ndarray, "face 3"]
) -> Float32[np.ndarray, "vertex 3"]:
    corner = vertex[face]
    area = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal = np.zeros_like(vertex)
    for index in range(3):
        np.add.at(normal, face[:, index], area)
    length: np.ndarray = np.linalg.norm(normal, axis=1, keepdims=True)
    normal /= np.maximum(length, 1e-12)
    return normal


def _simplified(
    vertex: Float32[np.ndarray, "vertex 3"], face: Int[np.ndarray, "face 3"], faces: int
) -> tuple[Float32[np.ndarray, "coarse_vertex 3"], Int[np.ndarray, "coarse_face 3"]]:
    key = hashlib.sha256(_VERSION + b"%d" % faces + vertex.tobytes() + face.tobytes()).hexdigest()
    path = cache_folder() / f"{key[:32]}.npz"
    stored = _load(path)
    if stored is None:
        import fast_simplification

        stored = fast_simplification.simplify(*_welded(vertex, face), target_count=faces, agg=5)
        _save(path, *stored)
    coarse_vertex: np.ndarray = stored[0].astype(np.float32)
    coarse_face: np.ndarray = stored[1].astype(np.int32)
    return coarse_vertex, coarse_face


def _welded(
    vertex: Float32[np.ndarray, "vertex 3"], face: Int[np.ndarray, "face 3"]
) -> tuple[Float32[np.ndarray, "welded_vertex 3"], Int[np.ndarray, "welded_face 3"]]:
    """Vertices in one place become one, else simplification tears the surface along its seams."""
    grid = np.round(vertex, 5)
    unique, index = np.unique(grid, axis=0, return_inverse=True)
    joined = index.reshape(-1)[face]
    a, b, c = joined[:, 0], joined[:, 1], joined[:, 2]
    joined = joined[(a != b) & (b != c) & (a != c)]
    return unique, np.ascontiguousarray(joined, dtype=np.int32)


def cache_folder() -> Path:
    """Where coarse meshes are kept: ``$XDG_CACHE_HOME/embodied/meshes``, by default in ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "embodied" / "meshes"


def _load(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["vertex"], file["face"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # a damaged copy is made again


def _save(path: Path, vertex: np.ndarray, face: np.ndarray) -> None:
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, vertex=vertex, face=face)
        temporary.replace(path)
    except OSError as error:
        raise BadConfig(
            f"cannot write {path}: {error.strerror}; "
            "point XDG_CACHE_HOME to a folder that can be written."
        ) from error
