"""GPT: its sizes are the published ones."""

import pytest

from keras_tx import graph
from keras_tx.applications import GPT, GPT_SIZES

from .counts import extrapolated

pytestmark = pytest.mark.once  # counts, with no values behind them
PARAMETERS = {"small": 124_439_808, "medium": 354_823_168, "large": 774_030_080, "xl": 1_557_611_200}


def test_every_size_has_its_published_count():
    assert GPT_SIZES.keys() == PARAMETERS.keys()


@pytest.mark.parametrize("size", PARAMETERS)
def test_parameters_are_those_of_the_published_model(size):
    assert extrapolated(GPT, GPT_SIZES[size]) == PARAMETERS[size]
    if size == "small":
        with graph.without_values():
            assert GPT(**GPT_SIZES[size]).count_params() == PARAMETERS[size]
