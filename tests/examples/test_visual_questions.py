"""The example of questions on scenes: scenes and answers that hold, and its whole job on few of them."""

import json
import sys

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the example exports a SavedModel", allow_module_level=True)

import scenes
import visual_questions as example

LABELS = np.repeat(np.arange(10), 3)
SMALL = {
    "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8, "num_region_heads": 2, "region_hidden_dim": 8,
    "region_intermediate_dim": 8, "num_co_attention_heads": 2, "co_attention_dim": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def made():
    return scenes.make_scenes(200, LABELS, seed=0)


def test_digits_of_a_scene_differ_lie_inside_and_do_not_touch(made):
    assert np.all((made.boxes >= 0) & (made.boxes <= 1))
    for row, count in enumerate(made.counts):
        assert 2 <= count <= 4
        assert len(set(made.labels[row, :count])) == count
        corners = np.stack([made.lefts[row], made.tops[row]], -1)
        gaps = np.abs(corners[:, None] - corners[None])[np.triu_indices(4, 1)]
        assert np.all(gaps.max(-1) >= scenes.SIZE)
        assert np.all(gaps[:, 0] >= scenes.APART)


def test_a_crop_is_what_the_box_holds_of_the_picture(made):
    images = np.random.default_rng(1).integers(0, 256, (30, 28, 28), "uint8")
    cut, canvas = scenes.crops(made, images), scenes.picture(made, images, 3)
    for place in range(made.counts[3]):
        left, top = made.lefts[3, place], made.tops[3, place]
        np.testing.assert_array_equal(canvas[top : top + 28, left : left + 28], cut[3, place])


def test_answers_are_right_and_name_their_region(made):
    asked = scenes.ask(made, seed=2)
    assert {question.type for question in asked} == set(range(5))
    for question in asked:
        words, answer, row = question.text.split(), scenes.ANSWERS[question.answer], question.scene
        count = made.counts[row]
        named = {str(made.labels[row, one]): one for one in range(count)}
        if question.region >= 0:
            name = words[question.word]
            assert name in (str(made.labels[row, question.region]), scenes.NAMES[made.colors[row, question.region]])
        if question.type == 0:
            assert answer == scenes.NAMES[made.colors[row, named[words[-1]]]]
        elif question.type == 1:
            assert scenes.NAMES[made.colors[row, named[answer]]] == words[-1]
        elif question.type == 2:
            own, side = made.lefts[row, named[words[-1]]], -1 if "left" in words else 1
            distances = {digit: side * (made.lefts[row, one] - own) for digit, one in named.items()}
            beyond = {digit: distance for digit, distance in distances.items() if distance > 0}
            assert answer == (min(beyond, key=beyond.get) if beyond else "none")
        elif question.type == 3:
            assert answer == f"{sum(scenes.NAMES[color] == words[-1] for color in made.colors[row, :count])} of them"
        else:
            assert (answer == "yes") == (words[-1] in named)


def test_captions_are_true_and_texts_become_ids(made):
    for row, text in enumerate(scenes.captions(made, seed=3)):
        _, color, digit, _, side, _, _, other_color, other = text.split()
        labels = list(map(str, made.labels[row, : made.counts[row]]))
        first, second = labels.index(digit), labels.index(other)
        assert (made.lefts[row, first] < made.lefts[row, second]) == (side == "left")
        found = scenes.NAMES[made.colors[row, first]], scenes.NAMES[made.colors[row, second]]
        assert found == (color, other_color)
    ids = scenes.encode(["what color is the 3", "no such words"])
    assert [scenes.WORDS[number] for number in ids[0, :7]] == ["[CLS]", "what", "color", "is", "the", "3", "[SEP]"]
    assert ids[1, :5].tolist() == [1, 4, 4, 4, 2]
    with pytest.raises(ValueError, match="at most 10 words"):
        scenes.encode(["is " * 11])


def test_the_whole_job_runs_on_few_scenes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(example, "STREAMS", {**example.STREAMS, **SMALL})
    shallow = {**example.DEPTHS["late_fusion"], "num_layers": 1, "num_region_layers": 1}
    monkeypatch.setattr(example, "DEPTHS", {**example.DEPTHS, "late_fusion": shallow})
    monkeypatch.setattr(sys, "argv", ["visual_questions.py", "--quick", "--output", str(tmp_path)])
    example.main()
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(line["accuracy"]) == {"majority", "question_alone", "regions_alone", "late_fusion", "vilbert"}
    assert line["served_alike"] == "10/10"
    assert set(line["pointing"]) == {"text_to_regions_0", "text_to_regions_1"}
    assert (tmp_path / "attention.png").stat().st_size > 1_000
