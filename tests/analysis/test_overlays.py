"""Overlays lie on the whole image, whatever the grid; distances stand one dot a head over their depth."""

import numpy as np
import pytest

from keras_tx.analysis import plots

pytestmark = pytest.mark.once  # numpy and matplotlib alone


def drawn(figure):
    return [panel for panel in figure.axes if panel.images]


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 6, 8, 3), "uint8"), ((2, 6, 8, 1), "float32"), ((2, 6, 8), "float32")]
)
def test_the_weights_cover_the_image_beside_the_plain_one(tmp_path, shape, dtype):
    images = np.random.default_rng(0).uniform(0, 255, shape).astype(dtype)
    weights = np.random.default_rng(1).random((2, 3, 2))
    path = tmp_path / "overlay.png"
    figure = plots.plot_overlay(images, weights, titles=["a", "b"], title="both", path=path)
    assert path.read_bytes().startswith(b"\x89PNG")
    panels = drawn(figure)
    assert [panel.get_title() for panel in panels] == ["a", "", "b", ""]
    for index in range(2):
        plain, covered = panels[2 * index : 2 * index + 2]
        image, heat = covered.images
        assert np.array_equal(plain.images[0].get_array(), image.get_array())
        np.testing.assert_allclose(image.get_array().squeeze(), images[index].squeeze() / 255, atol=1e-6)
        np.testing.assert_allclose(heat.get_array(), weights[index], atol=1e-6)
        assert heat.get_extent() == list(image.get_extent()) == [-0.5, 7.5, 5.5, -0.5]


def test_floats_up_to_one_are_taken_as_they_are():
    figure = plots.plot_overlay(np.full((1, 4, 4, 1), 0.5), np.zeros((1, 2, 2)))
    assert drawn(figure)[0].images[0].get_array().max() == 0.5


@pytest.mark.parametrize(
    ("images", "weights"),
    [((1, 4, 4, 2), (1, 2, 2)), ((1, 4, 4, 3), (2, 2, 2)), ((0, 4, 4), (0, 2, 2)), ((4, 4), (2, 2))],
)
def test_images_and_weights_that_do_not_belong_together_are_refused(images, weights):
    with pytest.raises(ValueError, match=r"`images` must have shape .* Received: images of shape"):
        plots.plot_overlay(np.zeros(images), np.zeros(weights))


@pytest.mark.parametrize("weights", [[[0.5, -0.1]], [[np.nan, 1.0]], [[]]])
def test_weights_that_no_scale_from_zero_holds_are_refused(weights):
    with pytest.raises(
        ValueError, match="`weights` must have at least one place, and be finite and not negative.*Received"
    ):
        plots.plot_overlay(np.zeros((1, 4, 4)), [weights])


def test_titles_are_one_for_each_image():
    with pytest.raises(ValueError, match="Received: 1 for 2 images"):
        plots.plot_overlay(np.zeros((2, 4, 4)), np.zeros((2, 2, 2)), titles=["a"])


def test_each_head_is_a_dot_at_its_mean_over_the_images(tmp_path):
    distances = {"first": np.array([[1.0, 4.0], [3.0, np.nan]]), "second": np.array([[5.0, np.nan, 7.0]])}
    path = tmp_path / "distances.png"
    panel = plots.plot_attention_distances(distances, title="far", path=path, unit="tokens").axes[0]
    assert path.read_bytes().startswith(b"\x89PNG")
    dots = [dot for collection in panel.collections for dot in collection.get_offsets().tolist()]
    assert dots == [[0, 2], [0, 4], [1, 5], [1, 7]]
    assert panel.get_ylabel() == "mean attention distance (tokens)"
    assert panel.get_ylim()[0] == 0
    assert panel.get_ylim()[1] > 7
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["first", "second"]


@pytest.mark.parametrize("distances", [{}, {"first": np.zeros(3)}, {"first": np.zeros((0, 3))}])
def test_distances_of_no_heads_are_refused(distances):
    with pytest.raises(ValueError, match="`distances` must hold an array"):
        plots.plot_attention_distances(distances)
