import numpy as np
import pytest

from recsys.errors import DataError
from recsys.evaluation import embedding_neighbors
from recsys.evaluation.embedding_neighbors import find_nearest, project_to_plane


def unit(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


class TestNearest:
    def test_are_those_at_the_smallest_angle(self) -> None:
        nearest = find_nearest(unit(0, 10, 90, 100, 180), np.array([0, 3]), 2)
        assert nearest.tolist() == [[1, 2], [2, 4]]

    def test_ties_go_to_the_smaller_number(self) -> None:
        assert find_nearest(unit(0, 90, 90, 90), np.array([0]), 2).tolist() == [[1, 2]]

    def test_equal_vectors_are_neighbours_but_no_item_is_its_own(self) -> None:
        assert find_nearest(unit(0, 0, 50), np.array([0, 1]), 1).tolist() == [[1], [0]]

    def test_do_not_depend_on_the_block_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        points = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        whole = find_nearest(points, np.arange(30), 4)
        monkeypatch.setattr(embedding_neighbors, "_CELLS_AT_ONCE", 70)
        assert (find_nearest(points, np.arange(30), 4) == whole).all()

    @pytest.mark.parametrize("k", [0, 3])
    def test_rejects_k_outside_the_other_items(self, k: int) -> None:
        with pytest.raises(DataError, match=rf"k is {k}, expected 1 to 2"):
            find_nearest(unit(0, 1, 2), np.array([0]), k)


class TestProjection:
    def test_axes_are_the_directions_of_largest_variance(self) -> None:
        # A flat cross in five dimensions: long along the third axis, short along the first.
        points = np.zeros((4, 5), dtype=np.float32)
        points[0, 2], points[1, 2], points[2, 0], points[3, 0] = 4.0, -2.0, 1.0, -1.0
        projected = project_to_plane(points)
        assert projected[:, 0] == pytest.approx([3.5, -2.5, -0.5, -0.5])
        assert np.abs(projected[:, 1]) == pytest.approx([0, 0, 1, 1])
        assert projected[2, 1] == pytest.approx(-projected[3, 1])

    def test_distances_in_two_dimensions_do_not_change(self) -> None:
        points = np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
        projected = project_to_plane(points)
        for a, b in ((0, 1), (3, 17)):
            assert np.linalg.norm(projected[a] - projected[b]) == pytest.approx(
                np.linalg.norm(points[a] - points[b]), rel=1e-5
            )

    def test_does_not_depend_on_the_sign_of_the_vectors(self) -> None:
        points = np.random.default_rng(2).normal(size=(15, 4)).astype(np.float32)
        assert project_to_plane(-points) == pytest.approx(project_to_plane(points), abs=1e-5)

    def test_of_one_dimension_has_an_empty_second_axis(self) -> None:
        projected = project_to_plane(np.array([[0.0], [3.0]], dtype=np.float32))
        assert np.abs(projected[:, 0]).tolist() == [1.5, 1.5]
        assert (projected[:, 1] == 0).all()
