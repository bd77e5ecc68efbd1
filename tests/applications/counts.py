"""Parameters of published sizes, of which each takes seconds to build."""

from keras_tx import graph


def extrapolated(make, options, **others):
    """Returns the parameters of the model that `make` builds, as each block after the second has as many as that one."""

    def count(num_layers):
        with graph.without_values():
            return make(**{**options, **others, "num_layers": num_layers}).count_params()

    one, two = count(1), count(2)
    return one + (options["num_layers"] - 1) * (two - one)
