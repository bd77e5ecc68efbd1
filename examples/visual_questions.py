"""A ViLBERT that answers questions on scenes of coloured digits, beside what knows less: is attention between streams needed?

    python examples/visual_questions.py [--quick] [--part validation|test] [--output FOLDER]

A small convolutional network learns to tell digit and colour of a crop of training digits, as ViLBERT's detector was trained
before it. What it computes last are the features of regions, for all models here alike. ViLBERT is pretrained on captions (do
text and scene belong together, masked words, masked regions), then learns to answer. Beside it stand the most frequent answer,
the same model without the scene and without the question, and one with as many blocks and the same pretraining but no attention
between the streams. `--part validation` asks of digits that are in neither of the other parts, to choose settings by.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import image_data
import keras
import numpy as np
import scenes
import visual_questions_shown as shown
import visual_questions_training as training

import keras_tx
from keras_tx import analysis
from keras_tx.applications import ViLBERT, vilbert_classifier, vilbert_pretrainer

STREAMS = {
    "num_heads": 4, "hidden_dim": 64, "intermediate_dim": 128, "num_region_heads": 4, "region_hidden_dim": 64,
    "region_intermediate_dim": 128, "num_co_attention_heads": 4, "co_attention_dim": 64, "dropout": 0.0,
    "initializer_stddev": 0.1,
}  # fmt: skip
DEPTHS = {  # three blocks for text and four for regions, of which two attend to the other stream or none
    "vilbert": {"num_layers": 1, "num_region_layers": 2, "text_blocks_before": (1, 1), "region_blocks_before": (1, 2)},
    "late_fusion": {"num_layers": 3, "num_region_layers": 4, "text_blocks_before": (), "region_blocks_before": ()},
}
FULL = {"scenes": 24_000, "asked": 2_000, "detector": 600, "pretraining": 500, "answers": 3_000, "alone": 400}
QUICK = {"scenes": 60, "asked": 40, "detector": 3, "pretraining": 3, "answers": 3, "alone": 3}


def parts_of_digits():
    """Returns the digits to learn from, to choose settings with, and to test with, as images (B, 28, 28) and labels."""
    data = image_data.load("mnist")
    learned, chosen = image_data.split_by_class(data.train_labels, 0.125, seed=2)
    images, labels = data.train[..., 0], data.train_labels
    return {
        "training": (images[learned], labels[learned]),
        "validation": (images[chosen], labels[chosen]),
        "test": (data.test[..., 0], data.test_labels),
    }


def make_models(name):
    """Returns the streams of ViLBERT with the heads of pretraining, and the same streams with a classifier of answers."""
    sizes = {**STREAMS, **DEPTHS[name], "region_dim": training.FEATURES}
    encoder = ViLBERT(len(scenes.WORDS), scenes.LENGTH, **sizes, name=name)
    spread = {"dropout": 0.0, "initializer_stddev": STREAMS["initializer_stddev"]}
    pretrainer = vilbert_pretrainer(encoder, 10, **spread, name=f"{name}_pretrainer")
    return pretrainer, vilbert_classifier(encoder, len(scenes.ANSWERS), **spread, name=f"{name}_answers")


def answer(model, questions, regions, knows="both"):
    """Returns the place of the answer to each question."""
    inputs = training.inputs_of(questions, regions, knows)
    return model.predict(inputs, batch_size=500, verbose=0).argmax(-1)


def accuracies(found, questions):
    """Returns the share of right answers of each type and of all, in percent."""
    right = np.array(found) == [question.answer for question in questions]
    types = np.array([question.type for question in questions])
    rows = {name: 100 * right[types == number].mean() for number, name in enumerate(scenes.TYPES)}
    return {name: round(float(value), 2) for name, value in {**rows, "all": 100 * right.mean()}.items()}


def most_frequent(learned, questions):
    """Returns for each question the most frequent answer to its type in training."""
    types, answers = (np.array([getattr(each, name) for each in learned]) for name in ("type", "answer"))
    common = [np.bincount(answers[types == number]).argmax() for number in range(len(scenes.TYPES))]
    return [common[question.type] for question in questions]


def main():
    """Runs the whole job and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few scenes and steps: to see that it runs")
    parser.add_argument("--part", choices=("validation", "test"), default="test", help="the digits of what is asked")
    parser.add_argument("--output", type=Path, default=Path("outputs/visual_questions"))
    options = parser.parse_args()
    start, sizes, part = time.time(), QUICK if options.quick else FULL, options.part
    options.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)

    digits = parts_of_digits()
    images = {name: values[0] for name, values in digits.items()}
    detector = training.train_detector(*digits["training"], sizes["detector"])
    counts = {"training": sizes["scenes"], "validation": sizes["asked"], "test": sizes["asked"]}
    made, regions, questions, seen = {}, {}, {}, {}
    for number, name in enumerate(counts):
        made[name] = scenes.make_scenes(counts[name], digits[name][1], seed=10 + number)
        regions[name], seen[name] = training.look(detector, made[name], images[name])
        questions[name] = scenes.ask(made[name], seed=20 + number)
    asked, learned = questions[part], questions["training"]
    real = np.arange(scenes.MOST) < made[part].counts[:, None]
    read = 100 * float(np.mean((seen[part].argmax(-1) == made[part].labels)[real]))
    print(
        f"{len(learned):,} questions to learn from, {len(asked):,} asked; the detector names {read:.2f} % of the digits"
    )

    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = {"masked_lm": sparse, "masked_regions": keras_tx.losses.LogitsKLDivergence(), "alignment": sparse}
    captions = scenes.captions(made["training"], seed=30)
    rows, figures = {"majority": accuracies(most_frequent(learned, asked), asked)}, {}

    def learn(model, steps, knows="both"):
        batches = training.answer_batches(training.inputs_of(learned, regions["training"], knows), learned)
        seconds = training.fit(model, batches, steps, sparse)
        return accuracies(answer(model, asked, regions[part], knows), asked), seconds

    for name in ("late_fusion", "vilbert"):
        pretrainer, model = make_models(name)
        fresh = model.get_weights()
        batches = training.pretraining_batches(regions["training"], seen["training"], captions)
        first = training.fit(pretrainer, batches, sizes["pretraining"], losses)
        rows[name], second = learn(model, sizes["answers"])
        figures[name] = {
            "parameters": model.count_params(),
            "ms_a_pretraining_step": round(1e3 * first, 1),
            "ms_a_step": round(1e3 * second, 1),
        }
    trained = model.get_weights()
    for name, knows in {"question_alone": "question", "regions_alone": "scene"}.items():
        training.start_again(model, fresh)
        rows[name], _ = learn(model, sizes["alone"], knows)
    model.set_weights(trained)
    print(shown.table(rows, (*scenes.TYPES, "all")))

    def inputs(name, chosen=slice(None)):
        return {key: value[chosen] for key, value in training.inputs_of(questions[name], regions[name], "both").items()}

    chosen, _ = shown.pointing(analysis, model, inputs("validation"), questions["validation"])
    place = max(chosen, key=chosen.get)  # chosen with validation digits
    found, chance = shown.pointing(analysis, model, inputs(part), asked)
    print(f"{place} puts the region that the question names first in {found[place]:.1f} % (chance {chance:.1f} %)")
    model.save(options.output / "model.keras")
    row = next(row for row, each in enumerate(asked) if each.type == 2 and made[part].counts[each.scene] == scenes.MOST)
    one = inputs(part, slice(row, row + 1))
    shown.draw(analysis, model, one, place, made[part], images[part], asked[row], options.output / "attention.png")
    served = shown.serve(detector, model, made[part], images[part], asked[:10], options.output)
    best = answer(model, asked[: len(served)], regions[part]) if served else []
    same = sum(scenes.ANSWERS[each] == reply["answer"] for each, reply in zip(best, served, strict=True))
    print(f"A SavedModel in a new process answers {same} of {len(served)} questions as the model does")
    line = {
        "part": part,
        "questions": len(asked),
        "accuracy": rows,
        "detector": round(read, 2),
        "sizes": sizes,
        **figures,
    }
    line |= {"pointing": {name: round(value, 2) for name, value in found.items()}, "pointing_chosen": place}
    line |= {
        "pointing_chance": round(chance, 2),
        "served_alike": f"{same}/{len(served)}",
        "seconds": round(time.time() - start),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
