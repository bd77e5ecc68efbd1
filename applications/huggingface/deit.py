"""DeiT folders, as models of `ViT` with a distillation token.

`architectures` says whether there is no head, one on the class token, or one on each token. (DeiT models that were trained
without distillation are published as ViT.)
"""

from ...checkpoints import Rule
from . import vit
from .fields import Field, classes
from .recipe import Architecture
from .tensors import dense

_TEACHER = {"include_top": True, "distillation_head": True}
_STUDENT = {"include_top": True, "distillation_head": False}
_TOKENS = "embeddings.cls_token", "embeddings.distillation_token"

_TEACHER_RULES = *dense("cls_classifier", "logits"), *dense("distillation_classifier", "distillation_logits")

RECIPE = vit.RECIPE._replace(
    marks={"ClassToken.num_tokens": 2, "patches": ...},
    architectures={
        "DeiTForImageClassificationWithTeacher": Architecture(_TEACHER, "cls_classifier.weight", _TEACHER_RULES),
        "DeiTForImageClassification": Architecture(_STUDENT, "classifier.weight", dense("classifier", "logits")),
        "DeiTModel": Architecture({"include_top": False, "distillation_head": False}),
    },
    fields=(
        *(field for field in vit.RECIPE.fields if field.argument != "num_classes"),
        Field("distillation_head", shown=lambda layers: len(layers.of("Dense")) == 2),
        *classes(_TEACHER, shown="Dense.units", axis=("cls_classifier.weight", 0)),
        *classes(_STUDENT, shown="Dense.units", axis=("classifier.weight", 0)),
    ),
    fixed={"distillation_token": True},
    rules=(*vit.RECIPE.rules[:-1], Rule(_TOKENS, "class_token/token", "hidden -> 1 1 hidden")),
    prefix="deit.",
)
