"""DeiT folders: how their config and their tensors read as those of `ViT` with a distillation token, and the reverse.

`architectures` says whether there is no head, one on the class token, or one on each token. (DeiT models that were trained
without distillation are published as ViT.)
"""

from ...checkpoints import Rule
from . import vision, vit

PREFIX, TIED, IGNORED = "deit.", {}, vit.IGNORED
_TEACHER = {"include_top": True, "distillation_head": True}
_STUDENT = {"include_top": True, "distillation_head": False}
_ARCHITECTURES = {
    "DeiTForImageClassificationWithTeacher": ("cls_classifier", _TEACHER),
    "DeiTForImageClassification": ("classifier", _STUDENT),
    "DeiTModel": (None, {"include_top": False, "distillation_head": False}),
}
_TOKENS = Rule(("embeddings.cls_token", "embeddings.distillation_token"), "class_token/token", "hidden -> 1 1 hidden")
_HEADS = {
    False: vision.dense("classifier", "logits"),
    True: (
        *vision.dense("cls_classifier", "logits"),
        *vision.dense("distillation_classifier", "distillation_logits"),
    ),
}

build, weights, files = vit.build, vit.weights, vit.files


def arguments(config, checkpoint):
    """Returns the arguments of `ViT` for a folder; raises `ValueError` for what `ViT` does not do."""
    options = {**vision.architecture(config, checkpoint, _ARCHITECTURES), "distillation_token": True}
    return {**vit.sizes(config), **vit.with_head(config, options)}


def rules(arguments):
    """Returns the rules for a folder of these arguments."""
    heads = _HEADS[arguments["distillation_head"]]
    return vision.sized((*vit.ENCODER_RULES, _TOKENS, *heads), arguments["patch_size"])


def landmarks(arguments):
    """Yields names and shapes of tensors in which every size of `arguments` shows, blocks included."""
    head = "cls_classifier" if arguments["distillation_head"] else "classifier"
    yield from vit.landmarks(arguments, num_tokens=2, head=head)


def recognizes(model):
    """Returns whether a model has two tokens before its patches."""
    return vit.num_tokens(model) == 2


def saved(model):
    """Returns the config of a model, its weights by their paths in `ViT`, and the rules by which they are written.

    Raises `ValueError` if the model is not one that `ViT` could have made, but for names.
    """
    arguments, weights = vit.parts(model)
    options = (arguments["include_top"], arguments["distillation_head"])
    name = next(
        name
        for name, (_, known) in _ARCHITECTURES.items()
        if (known["include_top"], known["distillation_head"]) == options
    )
    prefix = PREFIX if arguments["include_top"] else ""
    written = [rule.prefixed(prefix) for rule in (*vit.ENCODER_RULES, _TOKENS)]
    written = vision.sized((*written, *_HEADS[arguments["distillation_head"]]), arguments["patch_size"])
    return vit.config_of("deit", name, arguments, weights), weights, written
