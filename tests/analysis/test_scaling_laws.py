"""Laws of scaling: known constants come back, published optima come out, and points that pin no law are refused."""

import os
import sys

import numpy as np
import pytest

from keras_tx.analysis import ScalingLaw, fit_scaling_law
from keras_tx.analysis.scaling.forms import FORMS

pytestmark = pytest.mark.once  # numpy and scipy alone

EPOCH = {"E": 1.81722, "A": 477.83, "B": 2143.4, "alpha": 0.34731, "beta": 0.36717}
KAPLAN = {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103}
CONSTANTS = {"hoffmann": EPOCH, "kaplan": KAPLAN}
SIZES, BUDGETS = np.geomspace(4e7, 1.6e10, 5), np.geomspace(5e8, 5e11, 4)
FILE = "SCALING_POINTS"  # the path of data/svg_extracted_data.csv of epoch-research/analyzing-chinchilla


def points(form="hoffmann", noise=0.0, sizes=SIZES, budgets=BUDGETS):
    n, d = (axis.ravel() for axis in np.meshgrid(sizes, budgets))
    losses = ScalingLaw(form, CONSTANTS[form]).predict(n, d)
    return n, d, losses * np.exp(noise * np.random.default_rng(0).standard_normal(len(n)))


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_that_of_differences(form):
    n, d, losses = np.log(points(form))
    n, d = n - n.mean(), d - d.mean()
    unknowns = [*FORMS[form].starts(n, d, np.exp(losses))][5]
    slopes = FORMS[form].log_loss(unknowns, n, d)[1]
    for place in range(len(unknowns)):
        step = 1e-5 * np.eye(len(unknowns))[place]
        ends = [FORMS[form].log_loss(unknowns + sign * step, n, d)[0] for sign in (1, -1)]
        np.testing.assert_allclose(slopes[:, place], (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_known_constants_come_back_from_losses_without_noise(form):
    law = fit_scaling_law(*points(form), form=form, bootstraps=0)
    assert law.constants == pytest.approx(CONSTANTS[form], rel=1e-4)
    assert law.objective < 1e-15
    assert law.intervals == {}
    assert law.optimal(1e21).intervals == {}


@pytest.mark.parametrize(("form", "noise"), [("hoffmann", 0.004), ("kaplan", 0.001)])
def test_known_constants_lie_in_the_intervals_of_losses_with_noise(form, noise):
    known = ScalingLaw(form, CONSTANTS[form])
    law = fit_scaling_law(*points(form, noise, np.geomspace(4e7, 1.6e10, 8), np.geomspace(5e8, 5e11, 8)), form, 40)
    for name, (low, high) in law.intervals.items():
        assert low < CONSTANTS[form][name] < high
        assert low < law.constants[name] < high
    assert 0.6 * noise < law.noise < 1.5 * noise
    assert law.predict(1e10, 1e12) == pytest.approx(known.predict(1e10, 1e12), rel=0.01)
    low, high = law.predict_interval([1e9, 1e10], 1e12)
    assert (low < law.predict([1e9, 1e10], 1e12)).all()
    assert (law.predict([1e9, 1e10], 1e12) < high).all()
    best, of_known = law.optimal(1e22), known.optimal(1e22)
    assert {*best.intervals} == {*best._fields} - {"compute", "intervals"}
    assert best.intervals["a"][0] < of_known.a < best.intervals["a"][1]
    assert best.parameters == pytest.approx(of_known.parameters, rel=0.3)


def test_one_wild_point_changes_little():
    n, d, losses = points(noise=0.001)
    wild = losses * np.where(np.arange(len(losses)) == 7, 1.5, 1.0)
    clean, found = (fit_scaling_law(n, d, each, bootstraps=0) for each in (losses, wild))
    assert found.constants["alpha"] == pytest.approx(clean.constants["alpha"], abs=0.02)
    assert found.constants["E"] == pytest.approx(clean.constants["E"], abs=0.03)


def test_the_seed_and_the_unit_of_the_losses_change_what_they_should():
    arrays = points(noise=0.004)
    first, second, other = (fit_scaling_law(*arrays, bootstraps=8, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.samples, second.samples)
    assert not np.array_equal(first.samples, other.samples)
    assert {name: tuple(pair) for name, pair in first.intervals.items()} != other.intervals
    in_bits = fit_scaling_law(*arrays[:2], arrays[2] / np.log(2), bootstraps=0)
    for name in ("E", "A", "B"):
        assert in_bits.constants[name] * np.log(2) == pytest.approx(first.constants[name], rel=1e-4)
    assert in_bits.constants["alpha"] == pytest.approx(first.constants["alpha"], rel=1e-4)


# A, B, alpha, beta; the budget; a, G, and N and D of the best run, to the digits that were published or worked out.
PUBLISHED = {
    "hoffmann": ((406.4, 410.7, 0.3392, 0.2849), 5.76e23, (0.4565, 1.3004, 40.31e9, 2.3815e12)),
    "hoffmann, rounded": ((406.4, 410.7, 0.34, 0.28), 5.76e23, (0.4516, 1.3447, 32.19e9, 2.9823e12)),
    "epoch": ((482.01, 2085.43, 0.3478, 0.3658), 5.76e23, (0.5126, 0.11963, 72.25e9, 1.3287e12)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_constants_give_their_optimum(name):
    (A, B, alpha, beta), compute, (a, G, parameters, tokens) = PUBLISHED[name]
    law = ScalingLaw("hoffmann", {"E": 1.69, "A": A, "B": B, "alpha": alpha, "beta": beta})
    best = law.optimal(compute)
    assert (best.a, best.b) == pytest.approx((a, 1 - a), abs=6e-5)
    assert (best.G, best.parameters, best.tokens) == pytest.approx((G, parameters, tokens), rel=2e-4)
    assert best.tokens_per_parameter == pytest.approx(tokens / parameters, rel=3e-4)
    assert best.loss == law.predict(best.parameters, best.tokens)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("c0", [6.0, 8.0])
def test_no_other_run_of_the_same_compute_is_better(form, c0):
    law = ScalingLaw(form, CONSTANTS[form])
    best = law.optimal(1e21, c0=c0)
    assert c0 * best.parameters * best.tokens == pytest.approx(1e21)
    others = best.parameters * np.geomspace(0.1, 10, 401)
    losses = law.predict(others, 1e21 / (c0 * others))
    assert np.argmin(losses) == 200
    assert losses[200] == pytest.approx(best.loss)


@pytest.mark.skipif(
    FILE not in os.environ, reason=f"{FILE} names no file: its licence is not stated, so it is not shipped"
)
def test_epochs_points_give_their_figures():
    rows = np.genfromtxt(os.environ[FILE], delimiter=",", names=True)
    rows = rows[np.argsort(rows["loss"])][:-5]  # as their notebook: without the five highest losses
    n = rows["Model_Size"]
    law = fit_scaling_law(n, rows["Training_FLOP"] / (6 * n), rows["loss"])
    assert len(n) == 240
    assert law.constants == pytest.approx(EPOCH, rel=2e-4)
    assert law.objective == pytest.approx(1.0182740e-3, rel=1e-6)
    for name, (low, high) in {"E": (1.775, 1.877), "alpha": (0.319, 0.368), "beta": (0.336, 0.421)}.items():
        assert law.intervals[name] == pytest.approx((low, high), abs=0.02)


def changed(place, index, value):
    arrays = [*points()]
    arrays[place] = np.where(np.arange(len(arrays[place])) == index, value, arrays[place])
    return arrays


REFUSED = {
    "a negative count": (
        lambda: changed(0, 3, -5.0),
        r"`parameters` must be positive, finite.* first parameters\[3\]=-5",
    ),
    "no tokens": (lambda: changed(1, 2, 0), r"`tokens` must be positive, finite numbers.* tokens\[2\]=0"),
    "a loss of NaN": (
        lambda: changed(2, 7, np.nan),
        r"`losses` must be positive, finite .* 1 others, .*losses\[7\]=nan",
    ),
    "words": (lambda: [["many"] * 20, *points()[1:]], "`parameters` must be numbers.*<U4"),
    "other lengths": (lambda: [points()[0][1:], *points()[1:]], r"three lists of one length.*\(19,\)"),
    "a grid": (lambda: [each.reshape(4, 5) for each in points()], r"three lists of one length.*\(4, 5\)"),
    "nothing": (lambda: [np.zeros(0)] * 3, r"three lists of one length.*\(0,\)"),
    "one size": (
        lambda: points(sizes=[1e9]),
        r"3 different sizes in `parameters`, where there are 1; 6 points .* are 4",
    ),
    "one size, nearly": (lambda: changed(0, range(20), np.linspace(1e9, 1.01e9, 20)), "3 different sizes"),
    "one number of tokens": (
        lambda: points(budgets=[1e10]),
        "3 different numbers of tokens in `tokens`, where there are 1",
    ),
    "two sizes": (lambda: points(sizes=SIZES[:2]), "3 different sizes in `parameters`, where there are 2"),
    "few points": (
        lambda: [each[[0, 6, 12, 3, 9]] for each in points()],
        "6 points for the 5 constants and a residual",
    ),
    "one compute": (
        lambda: points_on(SIZES, 1e20 / SIZES),
        "what is missing: runs beside that line.*one budget of comp",
    ),
    "one ratio": (
        lambda: points_on(SIZES, 20 * SIZES),
        "on one line of log N and log D.*one number of tokens a parameter",
    ),
    "rising losses": (lambda: [*points()[:2], points()[0] ** 0.1], r"`losses` must fall with `(parameters|tokens)`"),
    "below the floor": (lambda: changed(2, 19, 1.2), r"above the floor of the law .* E=1\.8.* losses\[19\]=1\.2"),
}


def points_on(n, d):
    n, d = np.tile(n, 2), np.tile(d, 2)
    return n, d, ScalingLaw("hoffmann", EPOCH).predict(n, d)


@pytest.mark.parametrize("name", REFUSED)
def test_points_that_pin_no_law_are_refused_with_what_is_missing(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        fit_scaling_law(*make(), bootstraps=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "chinchilla"}, "`form` must be one of 'hoffmann', 'kaplan'.*form='chinchilla'"),
        ({"bootstraps": -1}, "`bootstraps` must be an integer of at least 0"),
        ({"seed": 0.5}, "`seed` must be an integer"),
    ],
)
def test_other_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        fit_scaling_law(*points(), **settings)


def test_noise_above_the_differences_is_warned_of():
    with pytest.warns(UserWarning, match="what is missing") as caught:
        fit_scaling_law(*points(noise=0.03, sizes=[1e9, 1.1e9, 1.2e9, 1.3e9, 1.4e9]), bootstraps=10)
    texts = [str(each.message) for each in caught]
    assert any("is above half of what `parameters` change in them" in text for text in texts)
    assert any("do not pin alpha" in text for text in texts)
    assert not any("what `tokens` change" in text for text in texts)


def test_a_law_says_what_it_refuses():
    law = ScalingLaw("hoffmann", EPOCH)
    for call, message in (
        (lambda: law.predict(-1.0, 1e9), "`parameters` must be positive, finite numbers"),
        (lambda: law.predict(1e9, [1e9, np.inf]), "`tokens` must be positive, finite numbers"),
        (lambda: law.optimal(0), "`compute` must be a positive number"),
        (lambda: law.optimal(1e20, c0=float("nan")), "`c0` must be a positive number"),
        (lambda: law.predict_interval(1e9, 1e9), "needs a law that was fitted with `bootstraps`"),
        (law.plot, "needs a law that was fitted to points"),
        (lambda: ScalingLaw("hoffmann", KAPLAN), "`constants` must be a dict of E, A, B, alpha, beta"),
        (lambda: ScalingLaw("hoffmann", {**EPOCH, "A": -1.0}), r"`constants\['A'\]` must be a positive number"),
        (lambda: ScalingLaw("other", EPOCH), "`form` must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_without_scipy_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"pip install 'keras-tx\[analysis\]'"):
        fit_scaling_law(*points())


@pytest.mark.parametrize("form", FORMS)
def test_the_picture_holds_every_run_and_the_frontier_falls(form, tmp_path):
    law = fit_scaling_law(*points(form, 0.001), form=form, bootstraps=8)
    figure = law.plot(title="a law", path=tmp_path / "law.png")
    assert (tmp_path / "law.png").read_bytes().startswith(b"\x89PNG")
    curves, frontier, residuals = figure.axes[:3]
    for panel in (curves, frontier, residuals):
        assert sum(len(drawn.get_offsets()) for drawn in panel.collections) == len(law.points[0])
    best = frontier.lines[0].get_ydata()
    assert (np.diff(best) < 0).all()
    losses = residuals.collections[0].get_offsets()[:, 1]
    np.testing.assert_allclose(losses, 100 * (law.points[2] / law.predict(*law.points[:2]) - 1))
    lines = str(law).splitlines()
    assert lines[0] == f"scaling law, form {form}"
    assert len(lines) == len(law.constants) + 2


def test_a_law_without_a_floor_is_warned_of():
    n, d = points()[:2]
    with pytest.warns(UserWarning, match="no floor E of the losses"):
        law = fit_scaling_law(n, d, 480 / n**0.15 + 2100 / d**0.2, bootstraps=0)
    assert law.constants["beta"] == pytest.approx(0.2, abs=0.001)
