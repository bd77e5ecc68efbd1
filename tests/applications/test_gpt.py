"""GPT: its sizes are the published ones."""

import pytest

from keras_tx import graph
from keras_tx.applications import GPT, GPT_SIZES

PARAMETERS = {"small": 124_439_808, "medium": 354_823_168, "large": 774_030_080, "xl": 1_557_611_200}


def test_every_size_has_its_published_count():
    assert GPT_SIZES.keys() == PARAMETERS.keys()


@pytest.mark.parametrize("size", PARAMETERS)
def test_parameters_are_those_of_the_published_model(size):
    with graph.without_values():
        model = GPT(**GPT_SIZES[size])
    assert model.count_params() == PARAMETERS[size]
