"""With a draft the tokens are those that come without one: for each model that decodes, any batch, any place to stop."""

import numpy as np
import pytest

from keras_tx.decoding import Draft, Lookup, Sample, draft_report, generate, speculation

from .conftest import own_model, shaken
from .drafters import MODELS, VOCABULARY, Script, context_of, made

PROMPTS = [[3, 4, 5, 3, 4], [6, 7, 8, 6, 7, 8, 6], [1] * 20, [2, 9]]
STARTS = [[3], [4], [5], [6]]


@pytest.fixture(autouse=True)
def at_any_cost(monkeypatch, as_graphs):
    """Proposals are made whether they pay or not; what is compiled here has a `num_tokens` that no other test file has."""
    monkeypatch.setattr(speculation, "_SHARE", 1e6)


def counts_of(model, kind):
    return draft_report().get(
        f"{model.name}: {kind.__name__}", dict.fromkeys(["tokens", "steps", "proposed", "accepted"], 0)
    )


@pytest.mark.parametrize("name", MODELS)
def test_lookups_change_no_token(name):
    model, draft = made(name), Lookup(2, 5)
    prompts, context = (PROMPTS if name != "T5" else STARTS), context_of(model, 4)
    for sampler in (None, Sample(0.8, top_k=5, repetition_penalty=1.3)) if name == "own" else (None,):
        for stops in (None, [4, [7, 7]]):
            given = {"stop_ids": stops, "context": context, "seed": 3}
            plain = generate(model, prompts, 40, sampler, **given)
            assert generate(model, prompts, 40, sampler, draft=draft, **given).tolist() == plain.tolist()
    counts = counts_of(model, Lookup)
    assert 0 < counts["accepted"] < counts["proposed"]
    assert counts["steps"] < counts["tokens"]


@pytest.mark.parametrize(
    ("name", "sampler"), [("own", Sample(1.2, top_p=0.9)), ("T5", None), ("Llama with windows", None)]
)
def test_models_that_propose_change_no_token(name, sampler):
    model, prompts = made(name), PROMPTS if name != "T5" else STARTS
    given = {"context": context_of(model, 4), "stop_ids": [4], "seed": 5}
    plain = generate(model, prompts, 24, sampler, **given)
    for other in (model, made(name, 1)) if name == "own" else (made(name, 1),):
        draft, before = Draft(other, 3), dict(counts_of(model, Draft))
        assert generate(model, prompts, 24, sampler, draft=draft, **given).tolist() == plain.tolist()
        proposed, accepted = (counts_of(model, Draft)[each] - before[each] for each in ("proposed", "accepted"))
        # Beyond a stop and the limit nothing stands.
        assert accepted > 0.6 * proposed if other is model else accepted < 0.6 * proposed


def test_rows_go_at_their_own_pace_and_gaps_are_filled():
    model = made("own")
    plain = generate(model, STARTS, 40)
    draft = Script(plain, 3, lambda places, rows: places % 4 == rows)  # each row gains in other steps
    lengths = []
    fill = speculation.rewinding.taking_back.without_gaps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speculation.rewinding.taking_back, "without_gaps", lambda cache: lengths.append(1) or fill(cache))
        assert generate(model, STARTS, 40, draft=draft).tolist() == plain.tolist()
    assert lengths
    assert counts_of(model, Script)["accepted"] > 10


def test_each_row_stops_where_it_would():
    model = made("own")
    plain = generate(model, PROMPTS, 30)
    draft = Script(np.pad(plain, [(0, 0), (0, 9)]), 6, lambda places, rows: places >= 0)
    for stop in (int(plain[0, 9]), [plain[1, 10:12].tolist()], [plain[2, 22:25].tolist(), int(plain[3, 4])]):
        for limit in (1, 2, 7, 30):
            expected = generate(model, PROMPTS, limit, stop_ids=stop)
            assert generate(model, PROMPTS, limit, stop_ids=stop, draft=draft).tolist() == expected.tolist()


def test_the_first_of_equal_logits_is_taken():
    model = shaken(own_model(12, 128))
    head = model.get_layer("head")
    kernel, bias = (np.array(each) for each in head.get_weights())
    kernel[:, 6:], bias[6:] = kernel[:, :6], bias[:6]
    head.set_weights([kernel, bias])
    plain = generate(model, PROMPTS, 40)
    drafted = generate(model, PROMPTS, 40, draft=Lookup(2, 5))
    assert drafted.tolist() == plain.tolist()
    assert drafted[:, 20:].max() < 6


def test_a_single_row_and_none_at_all():
    model, draft = made("own"), Lookup(2, 5)
    for prompts in ([PROMPTS[1]], [], PROMPTS[:2]):
        for count in (0, 33):
            expected = generate(model, prompts, count)
            assert generate(model, prompts, count, draft=draft).tolist() == expected.tolist()


def test_rows_may_fill_the_position_table():
    model = shaken(own_model(VOCABULARY, 32))
    prompts = [PROMPTS[1], PROMPTS[3]]
    for draft in (Lookup(2, 5), Draft(model, 5)):
        expected = generate(model, prompts, 25)
        assert generate(model, prompts, 25, draft=draft).tolist() == expected.tolist()


def test_logits_that_are_nan_are_refused():
    model = made("own")
    generate(model, PROMPTS, 4, draft=Lookup(2, 5))
    head = model.get_layer("head")
    head.set_weights([each * np.nan for each in head.get_weights()])
    with pytest.raises(ValueError, match="`model` must give logits that are numbers. Received: NaN from own"):
        generate(model, PROMPTS, 4, draft=Lookup(2, 5))
