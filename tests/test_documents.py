"""Every Python block of README and of the pages in docs/ runs as it stands, and what they say of the tree is true."""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from keras_tx.applications import huggingface

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKING = sorted({*PAGES, *ROOT.glob("*.md"), ROOT / "benchmarks" / "RESULTS.md"})
README = PAGES[0].read_text()

# What is to be true when the last block of a page has run, where more can be said than that nothing was raised.
CLAIMS = {
    "checkpoints.md": "error == 0 and keras.backend.standardize_dtype(small.weights[0].dtype) == 'bfloat16' "
    "and [*foxes] == [2, 4, 5, 1, 5, 6, 3] and text == 'a fox [UNK] foxes'",
    "README.md": "maps['encoder'].shape == (1, 4, 8, 8)",
    "extending.md": "maps['block'].shape == (2, 2, 7, 7) and tokens.shape == (2, 7) and vectors.shape == (2, 16) "
    "and written.shape == more.shape == (1, 7) "
    "and sequences.shape == drawn.shape == (2, 6) and sum(map(len, pieces)) == 4 and error == 0",
    "generating.md": "tokens.shape == (2, 13) and best.shape == (1, 12) and sum(map(len, second)) == 10 "
    "and answers.shape == (2, 11) and copied.shape == (1, 6) and len(sentences) == 3 and text.startswith('Once upon') "
    "and [type(reply) for reply in replies] == [str, str] and same.shape == (2, 15) and len(sampled) == 10",
    "insight.md": "token.macs == costs.macs / 128 and step.macs == 3 * costs.macs and adapted_costs.sum.macs['dense'] == 7 * 128 "
    "and {'tokens_per_second', 'utilization'} <= set(history.history) and outputs.shape == (2, 6, 32) and len(nearest) == 3 "
    "and abs(law.constants['alpha'] - 0.35) < 1e-3 and round(published.optimal(5.76e23).parameters / 1e8) == 403",
    "masks.md": "lost == 0",
    "pretraining.md": "history.epoch == [] and scores.shape == (1, 7, 256) and abs(scores - same).numpy().max() < 1e-6 and "
    "logits.shape == (2, 3) and model.get_layer('bert') is classifier.get_layer('bert') is encoder",
    "quantizing.md": "difference == calibrated_difference == 0 and 0 < error < 0.2",
    "scaling.md": "tokens.shape == (1, 8)",
}


# A word of the block that can be run again in the same folder, as after a kill, and what it warns of when all has been done.
AGAIN = {"pretraining.md": ("write_shards", "2 epochs of training, .* it trains nothing")}


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def served(page):
    """What a client gets from the folders that a page wrote."""
    import tensorflow as tf

    if page == "README.md":
        model = tf.saved_model.load("reviews")
        probabilities = model.serve(tf.constant(["a funny film", "dull"])).numpy()
        assert probabilities.shape == (2, 2)
        assert abs(probabilities.sum(axis=1) - 1).max() < 1e-5
    elif page == "generating.md":
        model = tf.saved_model.load("writer")
        return model.serve(tf.constant(["Once upon"])).numpy()[0].decode()


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented:UserWarning")
@pytest.mark.filterwarnings("ignore:Invalid quantization mode:UserWarning")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page) and page.name != "scaling.md"], ids=lambda p: p.name
)
def test_blocks_run(page, tmp_path, monkeypatch, request):
    if ".quantize(" in page.read_text():
        request.getfixturevalue("few_objects_to_collect")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface, "RECIPES", dict(huggingface.RECIPES))  # to which a page adds one
    names = {}
    for block in blocks(page):
        exec(compile(block, page.name, "exec"), names)
        word, warning = AGAIN.get(page.name, (None, None))
        if word and word in block:
            with pytest.warns(UserWarning, match=warning):
                exec(compile(block, page.name, "exec"), names)
    assert eval(CLAIMS.get(page.name, "True"), names)
    text = served(page.name)
    assert text is None or text == names["text"]


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="keras.distribution needs JAX")
def test_blocks_run_on_four_devices(tmp_path):
    # XLA has a thread for each core, and four devices that wait for one another need one each: NPROC says how many there are.
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    environment = {**os.environ, "XLA_FLAGS": flags, "NPROC": "16"}
    program = "\n".join([*blocks(ROOT / "docs" / "scaling.md"), f"assert {CLAIMS['scaling.md']}"])
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, timeout=200)
    assert (tmp_path / "run" / "step-100" / "model.weights.json").exists()


@pytest.mark.once
def test_every_place_in_the_tree_exists():
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## Rooms")[2].partition("\n## ")[0]
    places = [
        place for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for place in re.findall(r"`(.+?)`", cell)
    ]
    assert len(places) > 15
    assert not [place for place in places if not any((root / place).exists() for root in (ROOT, ROOT / "keras_tx"))]


@pytest.mark.once
def test_every_public_layer_is_in_the_table():
    import keras_tx

    table = re.search(r"## The layers\n(.*?)\n\nMasks", README, re.DOTALL).group(1)
    assert set(re.findall(r"`([A-Z]\w+)`", table)) == set(keras_tx.layers.__all__)


@pytest.mark.once
@pytest.mark.parametrize("page", LINKING, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.once
def test_readme_links_to_every_page():
    assert {page.name for page in PAGES[1:]} == set(re.findall(r"\]\(docs/([\w.]+)", README))


@pytest.mark.once
def test_the_site_names_every_page_and_every_public_package():
    import keras_tx

    named = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert {page.name for page in PAGES[1:]} | {f"reference/{part}.md" for part in keras_tx.__all__} <= named
    assert all((ROOT / "docs" / page).exists() for page in named if page.startswith("reference/"))
